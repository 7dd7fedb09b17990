"""Random numbers against published ones; samples against their probabilities."""

import numpy as np
import pytest
import torch

from asr_parallel.nnet.sampling import draw_binary, philox


@pytest.mark.parametrize(
    ("seed", "number", "lower", "upper"),
    [
        (0, 0, 0xFF1DAE59, 0x6CD10DF2),
        (2**64 - 1, 2**32 - 1, 0x2C3F628B, 0xAB4FD7AD),
        (0x13198A2E85A308D3, 0x243F6A88, 0xDD7CE038, 0xF62A4C12),
    ],
)
def test_numbers_are_those_of_random123(seed: int, number: int, lower: int, upper: int) -> None:
    """Known answers for philox2x32-10 of the Random123 library."""
    out = np.empty(1, dtype=np.uint64)
    philox(np.uint64(seed), number, out)
    assert int(out[0]) == upper << 32 | lower


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_are_ones_as_often_as_the_probabilities_say(dtype: torch.dtype) -> None:
    probabilities = torch.tensor([0.0, 0.001, 0.25, 0.75, 1.0]).to(dtype).expand(1, 40_000, 5).contiguous()
    sample = draw_binary(probabilities, [3], torch.full_like(probabilities, torch.nan))
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample[0].float().mean(0), probabilities[0, 0].float(), rtol=0, atol=0.008)
    assert not sample[0, :, 0].any() and bool(sample[0, :, 4].all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_follows_from_its_own_seed(dtype: torch.dtype) -> None:
    probabilities = torch.full((3, 50, 41), 0.5, dtype=dtype)
    both = draw_binary(probabilities, [7, 8, 7], torch.empty_like(probabilities))
    alone = draw_binary(probabilities[1:2], [8], torch.empty_like(probabilities[1:2]))
    assert torch.equal(both[1], alone[0]) and torch.equal(both[0], both[2])
    apart = both.float() - 0.5
    for a, b in ((apart[0], apart[1]), (apart[0, :-1], apart[0, 1:]), (apart[0, :, :-1], apart[0, :, 1:])):
        assert abs(float((4 * a * b).mean())) < 0.1  # 2,000 of them: four deviations


def test_what_is_not_a_number_gives_no_ones() -> None:
    probabilities = torch.full((1, 10, 10), torch.nan)
    assert not draw_binary(probabilities, [1], torch.ones(1, 10, 10)).any()
