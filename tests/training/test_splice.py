"""The compiled pass that makes examples, against operations of torch."""

import numpy as np
import pytest
import torch

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.training.augmentation import Augmentation, DrawnAugmentation
from asr_parallel.training.splice import splice

DIM, CONTEXT = 5, 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "variation", [Augmentation(), Augmentation(0.3, 0.2), Augmentation(0, 0, 3), Augmentation(1, 1, 2)]
)
def test_examples_are_torchs(variation: Augmentation, dtype: torch.dtype) -> None:
    frames = np.random.default_rng(0).normal(size=(60, DIM)).astype(np.float16)
    rows = np.array([2, 57, 30, 2, 11])
    drawn = DrawnAugmentation(None, None)
    if variation != Augmentation():
        drawn = variation.draw(len(rows), DIM, torch.Generator().manual_seed(1))
    want = torch.from_numpy(np.stack([frames[row - CONTEXT : row + CONTEXT + 1].reshape(-1) for row in rows])).float()
    drawn.apply(want)
    out = torch.empty(want.shape, dtype=dtype)
    none = np.empty((0, DIM), dtype=np.float32)
    offset, keep = (none if one is None else one.numpy() for one in (drawn.offset, drawn.keep))
    splice(frames.view(np.uint16), rows, CONTEXT, offset, keep, bits(out))
    assert torch.equal(out, want.to(dtype))


def test_every_finite_float16_is_widened() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    frames = every[np.isfinite(every.view(np.float16))].reshape(-1, 1)
    none, out = np.empty((0, 1), dtype=np.float32), np.empty((len(frames), 1), dtype=np.float32)
    splice(frames, np.arange(len(frames)), 0, none, none, out)
    np.testing.assert_array_equal(out, frames.view(np.float16).astype(np.float32))
    assert (np.signbit(out) == (frames >= 0x8000)).all()
