"""Features that an RBM of unit variance is for, and those that it is not for."""

import numpy as np

from asr_parallel.features.frames import FrameStore

BLOCK_FRAMES = 1 << 18  # looked at in one go
FEWEST_FRAMES = 1000  # below this a dimension's variance says too little to refuse it
# A dimension of globally normalised features has variance 1; outside these it was not normalised
SMALLEST_VARIANCE, LARGEST_VARIANCE = 0.25, 4.0


def check_finite(store: FrameStore, rows: np.ndarray) -> None:
    """Raise ValueError when a frame of these rows has a value that is not finite, with the first one's place."""
    for start in range(0, len(rows), BLOCK_FRAMES):
        block = rows[start : start + BLOCK_FRAMES]
        bad = np.argwhere(~np.isfinite(store.frames[block]))
        if len(bad):
            row, dimension = int(block[bad[0][0]]), int(bad[0][1])
            utterance = store.ids[int(np.searchsorted(store.offsets, row, side="right")) - 1]
            raise ValueError(
                f"utterance {utterance}: dimension {dimension} of a frame is not finite; make the features anew"
            )


def check_normalised(store: FrameStore, rows: np.ndarray) -> None:
    """Refuse features that a Gaussian RBM of unit variance is not for.

    Raises:
        ValueError: dimensions that are not finite, constant, or of a variance far from 1, with their numbers.
    """
    frames = store.frames[rows].astype(np.float64)
    variance = frames.var(axis=0)
    wrong = {
        "not finite": ~np.isfinite(variance),
        "constant": variance < 1e-6,
        f"of a variance outside {SMALLEST_VARIANCE} to {LARGEST_VARIANCE}": (variance < SMALLEST_VARIANCE)
        | (variance > LARGEST_VARIANCE),
    }
    for what, bad in wrong.items():
        if bad.any() and (len(rows) >= FEWEST_FRAMES or what != list(wrong)[-1]):
            shown = ", ".join(f"{d} ({variance[d]:.3g})" for d in np.flatnonzero(bad)[:10])
            raise ValueError(
                f"{int(bad.sum())} of {store.dim} feature dimensions are {what}: {shown}; an RBM needs features that "
                "are normalised in mean and variance"
            )
