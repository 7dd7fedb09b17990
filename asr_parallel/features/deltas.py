"""Delta features as in Kaldi's add-deltas (feat/feature-functions.cc, DeltaFeatures), and the features of the GMMs."""

from pathlib import Path

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.cmvn import apply_cmvn


def delta_filters(order: int, window: int) -> list[np.ndarray]:
    """Return the filters of the deltas of order 0..`order`; the i-th has 2 * i * window + 1 taps.

    Each is the previous one convolved with the slope filter of a line fitted to +-window frames.
    """
    slope = np.arange(window, -window - 1, -1, dtype=np.float64)  # reversed, because convolution reverses it again
    slope /= np.sum(slope**2)
    filters = [np.ones(1)]
    for _ in range(order):
        filters.append(np.convolve(filters[-1], slope))
    return filters


def add_deltas(x: np.ndarray, order: int = 2, window: int = 2) -> np.ndarray:
    """Append deltas to the features of an utterance.

    Args:
        x: (T, D) features; the first and last frame are repeated beyond the ends.
        order: highest order (Kaldi's default: 2).
        window: frames on either side for the slope (Kaldi's default: 2).

    Returns:
        (T, (order + 1) * D) float32.
    """
    if not len(x):
        return np.empty((0, (order + 1) * x.shape[1]), dtype=np.float32)
    reach = order * window
    padded = np.pad(x, ((reach, reach), (0, 0)), mode="edge")
    blocks = []
    for taps in delta_filters(order, window):
        half = len(taps) // 2
        block = np.zeros(x.shape, dtype=np.float32)
        for k, tap in enumerate(taps[::-1]):
            if tap:
                start = reach - half + k
                block += np.float32(tap) * padded[start : start + len(x)]
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def gmm_features(folder: Path) -> FeatureArchive:
    """Return the features that every GMM is trained on: normalised MFCC with deltas, (T, 3 D), in memory.

    Args:
        folder: an archive of MFCC without normalisation.

    Raises:
        ValueError: not a feature archive.
    """
    plain = apply_cmvn(FeatureArchive.open(folder), norm_vars=False)
    frames = np.empty((len(plain.frames), 3 * plain.dim), dtype=np.float32)
    for u, matrix in enumerate(plain):
        frames[plain.offsets[u] : plain.offsets[u + 1]] = add_deltas(matrix)
    return FeatureArchive(plain.ids, plain.speakers, plain.offsets, frames)
