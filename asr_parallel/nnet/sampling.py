"""Binary samples of Bernoulli units, from random numbers that are counted and not kept.

On a CPU they are Philox2x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), made and used
up in one pass. Elsewhere torch's generator of that device makes them: other samples, as reproducible.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits, load
from asr_parallel.record.compiled import njit

BLOCKS = 256  # of four numbers each, made at a time: they stay in the nearest cache
ROUNDS = 10
MULTIPLIER, WEYL = np.uint64(0xD256D193), np.uint64(0x9E3779B9)
LOW, WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
STEPS = np.float32(65536)  # a probability is compared with 16 random bits


def draw_binary(probabilities: Tensor, seeds: Sequence[int], out: Tensor) -> Tensor:
    """Fill `out` with zeros and ones; return it.

    A replica's sample follows from its seed and its probabilities alone. On a CPU a probability counts as the next
    multiple of 2^-16, so that 0 never gives a one and 1 always does.

    Args:
        probabilities: (R, B, H) float32 or bfloat16, each replica's contiguous.
        seeds: R numbers below 2^64.
        out: (R, B, H) of the same type, each replica's contiguous.
    """
    if probabilities.device.type != "cpu":
        generator = torch.Generator(probabilities.device)
        noise = torch.empty(probabilities.shape, device=probabilities.device)
        for own, seed in zip(noise, seeds, strict=True):
            own.uniform_(generator=generator.manual_seed(seed))
        return out.copy_(noise < probabilities)
    zero, one = bits(torch.tensor([0, 1], dtype=out.dtype))
    for own, seed, chosen in zip(probabilities, seeds, out, strict=True):
        _draw(bits(own).reshape(-1), np.uint64(seed), bits(chosen).reshape(-1), zero, one)
    return out


@njit(nogil=True)
def philox(seed: np.uint64, first: int, out: np.ndarray) -> None:
    """Fill `out` with the blocks from number `first` on; counter (number, lower half of seed), key the upper half."""
    lower, upper = seed & LOW, seed >> WORD
    for j in range(len(out)):
        left, right, key = np.uint64(first + j), lower, upper
        for _ in range(ROUNDS):
            product = left * MULTIPLIER
            left = (product >> WORD) ^ key ^ right
            right = product & LOW
            key = (key + WEYL) & LOW
        out[j] = (right << WORD) | left


@njit(nogil=True)
def _draw(probabilities: np.ndarray, seed: np.uint64, out: np.ndarray, zero: Any, one: Any) -> None:
    blocks = np.empty(BLOCKS, dtype=np.uint64)
    numbers = blocks.view(np.uint16)
    for start in range(0, len(out), len(numbers)):
        philox(seed, start // 4, blocks)
        p, chosen = probabilities[start : start + len(numbers)], out[start : start + len(numbers)]
        for k in range(len(p)):
            chosen[k] = one if np.float32(numbers[k]) < load(p[k]) * STEPS else zero
