"""Natural gradient against streams that went through Kaldi's own class.

golden_natural_gradient.npz holds the first minibatches of two streams, rank 20 and period 4, float32: many_* has 64
rows of 50 dimensions (y: only its first 4 rows), few_* 10 rows of 40. A folder with the whole streams, ng_in.npz and
ng_few.npz, can be named by ASR_PARALLEL_GOLDEN.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient

FIXTURE = Path(__file__).parent / "golden_natural_gradient.npz"
GOLDEN = os.environ.get("ASR_PARALLEL_GOLDEN")
needs_golden = pytest.mark.skipif(GOLDEN is None, reason="ASR_PARALLEL_GOLDEN names no folder of Kaldi's streams")

Stream = tuple[Tensor, Tensor, Tensor]  # x (T, N, D), y (T, rows known, D), scale (T,)


def load(path: Path, prefix: str = "") -> Stream:
    with np.load(path, allow_pickle=False) as arrays:
        x, y, scale = (torch.from_numpy(arrays[prefix + name]) for name in ("x", "y", "scale"))
    return x, y, scale


def distances(y: Tensor, other: Tensor) -> Tensor:
    """(..., T, N, D) -> (..., T) relative."""
    return (y - other).norm(dim=(-2, -1)) / other.norm(dim=(-2, -1))


def check_many(stream: Stream) -> None:
    x, y, scale = stream
    mine = OnlineNaturalGradient(1, 50, rank=20, update_period=4)
    for x_t, y_t, scale_t in zip(x, y, scale, strict=True):
        got, got_scale = mine.precondition(x_t[None])
        assert distances(got[0, : len(y_t)], y_t) < 5e-5
        assert float(got_scale) == pytest.approx(float(scale_t), rel=1e-5)


def check_few(stream: Stream) -> None:
    """With 10 rows for 20 directions half of Kaldi's first directions are rounding error made orthonormal.

    They differ from one summation order to another, and what follows depends on them: two runs of Kaldi's own formulas
    whose sums are rounded differently part by 1 %. So its run has to look like one of ours among many, each with other
    directions in the place of the error.
    """
    x, y, scale = stream
    runs = 24
    ours = OnlineNaturalGradient(runs, 40, rank=20, update_period=4)
    ours._spare = torch.randn(runs, 20, 40, generator=torch.Generator().manual_seed(1)) / 40**0.5
    results = [ours.precondition(x_t.expand(runs, -1, -1)) for x_t in x]
    got = torch.stack([y_t for y_t, _ in results], dim=1)  # (runs, T, N, D)
    got_scale = torch.stack([s for _, s in results], dim=1)

    total = got.sum(0)
    among_us = distances(got, (total - got) / (runs - 1))
    kaldis = distances(y, total / runs)
    assert kaldis[0] < 2e-4 and kaldis[1] < 1e-3  # the data's own directions, before the others have any say
    assert (kaldis[1:] < 1.2 * among_us.amax(0)[1:]).all()
    assert kaldis[1:].mean() < among_us.mean(1).amax()
    assert ((scale - got_scale.mean(0)).abs()[1:] < 4 * got_scale.std(0)[1:]).all()
    assert distances(got, y).amax() < 0.03


def test_agrees_with_kaldi() -> None:
    check_many(load(FIXTURE, "many_"))


def test_is_one_of_kaldis_with_fewer_rows_than_directions() -> None:
    check_few(load(FIXTURE, "few_"))


@needs_golden
def test_agrees_with_kaldi_on_a_whole_stream() -> None:
    assert GOLDEN is not None
    check_many(load(Path(GOLDEN) / "ng_in.npz"))


@needs_golden
def test_is_one_of_kaldis_on_a_whole_stream() -> None:
    assert GOLDEN is not None
    check_few(load(Path(GOLDEN) / "ng_few.npz"))


def test_results_with_few_rows_depend_on_the_data_alone() -> None:
    """Ten rows, twenty directions: a change in the last place of the input stays one in the output."""
    x, _, _ = load(FIXTURE, "few_")
    one, other = OnlineNaturalGradient(1, 40, rank=20), OnlineNaturalGradient(1, 40, rank=20)
    random = torch.Generator().manual_seed(0)
    for x_t in x:
        touched = x_t * (1 + 1e-7 * torch.randn(x_t.shape, generator=random))
        assert distances(other.precondition(touched[None])[0], one.precondition(x_t[None])[0]) < 2e-6
