"""The features every GMM step works on: MFCC, mean-normalised per speaker, with first and second derivatives."""

from pathlib import Path

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.cmvn import apply_cmvn
from asr_parallel.features.deltas import add_deltas


def gmm_features(folder: Path) -> FeatureArchive:
    """Open the raw archive `folder` and return its normalised features with deltas, (T, 3 D), in memory.

    Raises:
        ValueError: not a feature archive.
    """
    plain = apply_cmvn(FeatureArchive.open(folder), norm_vars=False)
    frames = np.empty((len(plain.frames), 3 * plain.dim), dtype=np.float32)
    for u, matrix in enumerate(plain):
        frames[plain.offsets[u] : plain.offsets[u + 1]] = add_deltas(matrix)
    return FeatureArchive(plain.ids, plain.speakers, plain.offsets, frames)
