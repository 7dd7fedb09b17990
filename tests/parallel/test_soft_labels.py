"""Posteriors in little memory: what is kept exactly, what is lost with the rest, and how many bytes it takes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_parallel.parallel.ecdnn.soft_labels import SoftLabels

MANY = settings(deadline=None, max_examples=100)
HALF = 2.0**-11  # float16 rounds a probability by so much of itself, and what is near 0 by 2^-25
TINY = 2.0**-25


def posteriors(shape: tuple[int, ...], spread: float = 3.0, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.softmax(spread * torch.randn(shape, generator=draw), dim=-1)


@MANY
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 40), st.sampled_from([0.0, 1.0, 5.0, 50.0]))
def test_each_frame_is_a_distribution(seed: int, top: int, num_pdfs: int, spread: float) -> None:
    posterior = posteriors((2, 5, num_pdfs), spread, seed)
    labels = SoftLabels.of(posterior, top)
    dense = labels.dense()
    assert dense.shape == posterior.shape and dense.dtype == torch.float32
    assert (dense >= 0).all()
    torch.testing.assert_close(dense.sum(dim=-1), torch.ones(2, 5), atol=1e-6, rtol=0)


@MANY
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(2, 40), st.sampled_from([0.0, 1.0, 5.0, 50.0]))
def test_with_all_pdfs_nothing_but_float16_is_lost(seed: int, more: int, num_pdfs: int, spread: float) -> None:
    posterior = posteriors((7, num_pdfs), spread, seed)
    labels = SoftLabels.of(posterior, num_pdfs + more)
    assert labels.indices.shape == (7, num_pdfs)
    dense = labels.dense()
    bound = 2 * HALF * posterior + num_pdfs * TINY * posterior + TINY  # its own rounding, and that of the sum
    assert ((dense - posterior).abs() <= bound + 1e-7).all()
    again = SoftLabels.of(dense, num_pdfs).dense()
    torch.testing.assert_close(again, dense, atol=1e-6, rtol=2 * HALF)


@MANY
@given(st.integers(0, 10**6), st.integers(1, 10), st.sampled_from([0.1, 1.0, 5.0, 20.0]))
def test_what_is_lost_is_at_most_the_mass_of_the_rest(seed: int, top: int, spread: float) -> None:
    """The n most probable are kept; the distance to the truth is at most twice the rest, as of any two of that mass."""
    posterior = posteriors((6, 25), spread, seed)
    dense = SoftLabels.of(posterior, top).dense()
    most, where = posterior.topk(top, dim=-1)
    rest = 1 - most.sum(dim=-1)
    kept = dense.gather(-1, where)
    assert ((kept - most).abs() <= 2 * HALF * most + TINY + 1e-6).all()
    rounding = 2 * HALF + 25 * TINY + 1e-5
    assert ((dense - posterior).abs().sum(dim=-1) <= 2 * rest.clamp_min(0) + rounding).all()
    others = torch.ones_like(dense, dtype=torch.bool).scatter_(-1, where, False)
    spread_evenly = dense[others].view(6, -1)
    assert (spread_evenly == spread_evenly[:, :1]).all()
    assert ((spread_evenly.sum(dim=-1) - rest).abs() <= rounding).all()


def test_sums_above_one_by_rounding_are_taken_back() -> None:
    """All of the mass in the pdfs that are kept, where float16 rounds up."""
    value = 1 / 3 + 1e-4  # float16 makes more of it, or less
    posterior = torch.tensor([[value, value, 1 - 2 * value, 0.0, 0.0], [0.6666, 0.3334, 0.0, 0.0, 0.0]])
    dense = SoftLabels.of(posterior, 3).dense()
    assert (dense >= 0).all()
    torch.testing.assert_close(dense.sum(dim=-1), torch.ones(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("num_pdfs", "kind", "bytes_"), [(32_768, torch.int16, 4), (32_769, torch.int32, 6)])
def test_the_largest_pdf_decides_the_integers(num_pdfs: int, kind: torch.dtype, bytes_: int) -> None:
    posterior = torch.zeros(2, num_pdfs)
    posterior[0, [0, num_pdfs - 1]] = torch.tensor([0.25, 0.75])
    posterior[1, [num_pdfs - 1, num_pdfs - 2]] = 0.5
    labels = SoftLabels.of(posterior, 2)
    assert labels.indices.dtype == kind
    assert torch.equal(labels.dense(), posterior)
    assert labels.nbytes == 2 * 2 * bytes_


@pytest.mark.parametrize(("shape", "num_pdfs", "top"), [((3, 5, 7), 100, 16), ((4,), 3, 16), ((2, 9), 40_000, 8)])
def test_bytes(shape: tuple[int, ...], num_pdfs: int, top: int) -> None:
    labels = SoftLabels.zeros(shape, num_pdfs, top)
    a_pdf = 2 + (2 if num_pdfs <= 2**15 else 4)
    assert labels.nbytes == int(np.prod(shape)) * min(top, num_pdfs) * a_pdf


def test_a_part_shares_memory_with_the_whole() -> None:
    whole, posterior = SoftLabels.zeros((2, 3, 4), 6, 6), posteriors((2, 4, 6))
    whole.part(slice(None), 1).put(posterior)
    torch.testing.assert_close(whole.indices[:, 1].long(), posterior.topk(6, dim=-1).indices)
    assert not whole.probabilities[:, 0].any() and not whole.probabilities[:, 2].any()
    assert torch.equal(whole.part(slice(None), 1).dense(), SoftLabels.of(posterior, 6).dense())
    assert torch.equal(whole.part(1, 1).dense(), SoftLabels.of(posterior[1], 6).dense())
