"""What workers bring to a meeting, and by it how much each of them counts there."""

from dataclasses import dataclass

import numpy as np

DROP_WORSE = 1.0  # nats a frame; Kaldi steps/libs/nnet3/train/common.py
WEIGHTS = ("frames", "equal")


class DivergedError(ValueError):
    """Models have become of no use, from which only another learning rate can help."""


@dataclass(frozen=True, slots=True)
class SyncInfo:
    """One meeting of K workers, as all processes know it.

    frames (K,) int64: each has trained on since the last meeting; 0 for one that has run out of data.
    loss (K,) float64: mean over them, nats a frame, measured while the model moved; NaN without frames.
    kept (K,) bool: whose model is of use. The others' is not finite, or far worse than the best.
    rate: learning rate per frame of the last minibatch.
    number: meetings before this one.
    """

    frames: np.ndarray
    loss: np.ndarray
    kept: np.ndarray
    rate: float
    number: int

    @property
    def present(self) -> np.ndarray:
        """(K,) bool: kept, and trained since the last meeting; all that are kept when none of them has."""
        present = self.kept & (self.frames > 0)
        return present if present.any() else self.kept


def keep(frames: np.ndarray, loss: np.ndarray, sound: np.ndarray, drop_worse: float) -> np.ndarray:
    """(K,) bool, whose models are of use.

    Args:
        frames, loss: see SyncInfo.
        sound: (K,) bool: all parameters are finite.
        drop_worse: nats a frame; a worker whose loss is above the best one by more is left out.
    """
    trained = frames > 0
    good = sound & (~trained | np.isfinite(loss))
    best = min(loss[good & trained], default=np.inf)
    return good & (~trained | (loss <= best + drop_worse))


@dataclass(frozen=True, slots=True)
class WorkerWeights:
    """How much each worker counts in a mean.

    by: "frames", in proportion to those trained on (CNTK's model averaging, kaldi-aslp), or "equal" (Kaldi, torch,
        torchft), of workers that have trained.
    best_first: in so many first meetings the worker with the least loss alone counts: Kaldi takes the best model and no
        mean in iteration 0, when models change too fast for it.
    """

    by: str = "frames"
    best_first: int = 0

    def __post_init__(self) -> None:
        if self.by not in WEIGHTS:
            raise ValueError(f"unknown weights {self.by!r}; expected one of {', '.join(WEIGHTS)}")
        if self.best_first < 0:
            raise ValueError(f"best_first {self.best_first}: expected at least 0 meetings")

    def weights(self, meeting: SyncInfo) -> np.ndarray:
        """(K,) float64, not negative, one at least above 0."""
        assert meeting.kept.any()
        present = meeting.present
        if meeting.number < self.best_first and (present & (meeting.frames > 0)).any():
            best = int(np.argmin(np.where(present, meeting.loss, np.inf)))
            return np.eye(len(present))[best]
        if self.by == "frames" and meeting.frames[present].any():
            return np.where(present, meeting.frames, 0).astype(float)
        return present.astype(float)
