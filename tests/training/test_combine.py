"""The combination of the last models."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr_parallel.training.final_model import combine, write_model


def kept(folder: Path, models: list[Tensor]) -> list[Path]:
    paths = [folder / f"{k}.safetensors" for k in range(len(models))]
    for path, model in zip(paths, models, strict=True):
        write_model(path, model)
    return paths


def test_the_best_running_mean_is_chosen(tmp_path: Path) -> None:
    models = [torch.tensor([4.0, 0.0]), torch.tensor([0.0, 0.0]), torch.tensor([-1.0, 0.0]), torch.tensor([9.0, 0.0])]
    best, count, losses = combine(kept(tmp_path, models), lambda p: abs(float(p[0]) - 0.9))
    assert losses == pytest.approx([3.1, 1.1, 0.1, 2.1])
    assert count == 3 and torch.equal(best, torch.tensor([1.0, 0.0]))


def test_the_mean_is_exact(tmp_path: Path) -> None:
    models = [torch.randn(1000, generator=torch.Generator().manual_seed(k)) for k in range(20)]
    best, count, _ = combine(kept(tmp_path, models), lambda p: -float(p.std() < 1e9) * 0.0 - 1.0 / float(p.std()))
    assert torch.equal(best, torch.stack(models[:count]).double().mean(dim=0).float())
    assert count == 20  # the mean of independent draws has the least spread


def test_one_model_is_itself(tmp_path: Path) -> None:
    best, count, losses = combine(kept(tmp_path, [torch.ones(3)]), lambda p: float(p.sum()))
    assert torch.equal(best, torch.ones(3)) and (count, losses) == (1, [3.0])


def test_a_model_that_is_not_finite_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = [torch.tensor([2.0]), torch.tensor([float("nan")]), torch.tensor([0.0])]
    best, count, losses = combine(kept(tmp_path, models), lambda p: abs(float(p[0]) - 1))
    assert (float(best), count, losses) == (1.0, 2, [1.0, 0.0])
    assert "1.safetensors: has parameters that are not finite" in caplog.text
    with pytest.raises(ValueError, match="none of the 1 models to combine is finite"):
        combine(kept(tmp_path, [torch.tensor([float("inf")])]), lambda p: 0.0)


def test_a_loss_that_is_not_a_number_does_not_win(tmp_path: Path) -> None:
    models = [torch.tensor([4.0]), torch.tensor([0.0]), torch.tensor([3.0])]
    losses = iter([float("nan"), 2.0, 3.0])
    best, count, _ = combine(kept(tmp_path, models), lambda p: next(losses))
    assert (float(best), count) == (2.0, 2)


def test_damaged_and_mismatched_models_are_refused(tmp_path: Path) -> None:
    paths = kept(tmp_path, [torch.ones(3), torch.ones(4)])
    with pytest.raises(ValueError, match=r"1\.safetensors: 4 parameters; expected 3"):
        combine(paths, lambda p: 0.0)
    paths[1].write_bytes(b"no")
    with pytest.raises(ValueError, match=r"1\.safetensors: not a model kept for the combination"):
        combine(paths, lambda p: 0.0)
    paths[0].unlink()
    with pytest.raises(ValueError, match=r"0\.safetensors: not a model kept for the combination"):
        combine(paths, lambda p: 0.0)
