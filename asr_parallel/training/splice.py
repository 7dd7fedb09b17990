"""Examples of a minibatch from the frame store in one compiled pass: spliced, varied and converted, on a CPU."""

from typing import Any

import numpy as np

from asr_parallel.nnet.bfloat16 import store
from asr_parallel.record.compiled import njit

_EXPONENTS_APART = np.float32(2.0**112)  # float32's bias of 127 less float16's of 15


@njit(nogil=True)
def splice(
    frames: np.ndarray, rows: np.ndarray, context: int, offset: np.ndarray, keep: np.ndarray, out: np.ndarray
) -> None:
    """Write (frame + offset) * keep, for the 2 * context + 1 frames around each row, in float32 and rounded to `out`.

    Plain version: FrameStore.gather, DrawnAugmentation.apply and a conversion.

    Args:
        frames: (P, D) uint16, bits of finite float16 numbers.
        rows: (N,), of the frames in the middle.
        context: frames on either side.
        offset, keep: (N, D) float32, or (0, D) for none.
        out: (N, (2 * context + 1) * D), an array of `bits`.
    """
    dim, width = frames.shape[1], out.shape[1]
    flat, example = frames.reshape(-1), np.empty(width, dtype=np.float32)
    zeros, ones = np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32)
    for n in range(len(rows)):
        first = (rows[n] - context) * dim
        assert first >= 0 and first + width <= len(flat)
        window, into = flat[first : first + width], out[n]
        for i in range(width):
            example[i] = _widened(window[i])
        if len(offset) > 0 or len(keep) > 0:
            own_offset = offset[n] if len(offset) > 0 else zeros
            own_keep = keep[n] if len(keep) > 0 else ones
            for start in range(0, width, dim):
                frame = example[start : start + dim]
                for i in range(dim):
                    frame[i] = (frame[i] + own_offset[i]) * own_keep[i]
        for i in range(width):
            into[i] = store(example[i], into[i])


@njit(nogil=True)
def _widened(word: Any) -> Any:
    """Return the float32 of a float16's bits: the exponent has another bias, which a product puts right."""
    magnitude = np.uint32(np.uint32(word & np.uint16(0x7FFF)) << np.uint32(13)).view(np.float32) * _EXPONENTS_APART
    sign = np.uint32(np.uint32(word & np.uint16(0x8000)) << np.uint32(16))
    return np.uint32(np.float32(magnitude).view(np.uint32) | sign).view(np.float32)
