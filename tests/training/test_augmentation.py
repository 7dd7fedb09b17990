"""Random lines and masks: their statistics, alike in all frames of an example, and drawn from the generator alone."""

import pytest
import torch

from asr_parallel.training.augmentation import Augmentation, DrawnAugmentation, filters_kept, line_offsets, stacked

FILTERS, FRAMES = 8, 11


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lines_have_the_level_slope_and_ripple_asked_for() -> None:
    ends = line_offsets(20000, 5, tilt=0.3, ripple=0.0, generator=seeded())
    torch.testing.assert_close(ends[:, 1] - ends[:, 0], ends[:, 4] - ends[:, 3])  # a straight line
    level, slope = ends[:, 2], (ends[:, 4] - ends[:, 0]) / 2
    for drawn in (level, slope):
        assert abs(drawn.std() - 0.3) < 0.01 and abs(drawn.mean()) < 0.01
    each = line_offsets(20000, 5, tilt=0.0, ripple=0.2, generator=seeded())
    assert (each.std(dim=0) - 0.2).abs().max() < 0.01
    assert abs(torch.corrcoef(each.T)[0, 1]) < 0.03


def test_masks_are_single_bands_of_every_width_up_to_the_widest() -> None:
    keep = filters_kept(20000, FILTERS, widest=3, generator=seeded())
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    starts = (keep.diff(dim=1) < 0).sum(dim=1) + (keep[:, 0] == 0)
    assert starts.max() == 1
    widths = (keep == 0).sum(dim=1)
    assert widths.max() == 3 and widths.min() == 0
    share = (keep == 0).float().mean(dim=0)
    assert (share[2:] - 1.5 / FILTERS).abs().max() < 0.02  # the first filters lie in fewer bands


def test_all_frames_of_an_example_are_varied_alike_and_in_place() -> None:
    drawn = Augmentation(0.3, 0.2, 3).draw(50, FILTERS, seeded())
    spliced = torch.ones(50, FRAMES * FILTERS)
    drawn.apply(spliced)
    assert drawn.offset is not None and drawn.keep is not None
    expected = (1 + drawn.offset) * drawn.keep
    frames = spliced.view(50, FRAMES, FILTERS)
    for frame in range(FRAMES):
        torch.testing.assert_close(frames[:, frame], expected)


def test_a_generator_decides_alone() -> None:
    variation = Augmentation(0.3, 0.2, 3)
    torch.manual_seed(1)
    one = variation.draw(20, FILTERS, seeded(5))
    torch.manual_seed(2)
    same, other = variation.draw(20, FILTERS, seeded(5)), variation.draw(20, FILTERS, seeded(6))
    assert torch.equal(one.offset, same.offset) and torch.equal(one.keep, same.keep)  # type: ignore[arg-type]
    assert not torch.equal(one.offset, other.offset)  # type: ignore[arg-type]
    both = stacked([one, other])
    assert torch.equal(both.part(20, 40).offset, other.offset)  # type: ignore[arg-type]
    assert torch.equal(both.part(0, 20).keep, one.keep)  # type: ignore[arg-type]


def test_no_variation_leaves_everything_alone() -> None:
    assert Augmentation().draw(4, FILTERS, seeded()) == stacked([DrawnAugmentation(None, None)] * 2)
    spliced = torch.randn(4, FRAMES * FILTERS, generator=seeded())
    before = spliced.clone()
    Augmentation().draw(4, FILTERS, seeded()).apply(spliced)
    assert torch.equal(spliced, before)


@pytest.mark.parametrize("bad", [{"tilt": -0.1}, {"ripple": float("nan")}, {"widest_mask": -1}])
def test_variations_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected numbers of at least 0"):
        Augmentation(**bad)  # type: ignore[arg-type]
