"""The measurements that workers bring to a synchronization, and how much each worker counts in a mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from asr_parallel.parallel.worker_group import WorkerGroup


DROP_WORSE = 1.0  # nats a frame; Kaldi steps/libs/nnet3/train/common.py
WEIGHTS = ("frames", "equal")


class DivergedError(ValueError):
    """Models have diverged; only another learning rate can help."""


@dataclass(frozen=True, slots=True)
class SyncInfo:
    """A synchronization of K workers, the same in all processes.

    frames (K,) int64: that each worker has trained on since the last synchronization; 0 for one without data left.
    loss (K,) float64: mean over them, nats a frame, measured while the model moved; NaN without frames.
    valid (K,) bool: whether a worker's model is used. Others are not finite, or far worse than the best.
    lr: learning rate per frame of the last minibatch.
    index: number of synchronizations before this one.
    """

    frames: np.ndarray
    loss: np.ndarray
    valid: np.ndarray
    lr: float
    index: int

    @property
    def active(self) -> np.ndarray:
        """(K,) bool: valid, and trained since the last synchronization; all that are valid when none has trained."""
        active = self.valid & (self.frames > 0)
        return active if active.any() else self.valid


@dataclass(frozen=True, slots=True)
class Sync(SyncInfo):
    """A synchronization as an algorithm's `merge` is given it.

    mean: return the (P,) weighted mean of all workers' models. Collective.
    receive: return a copy of the (P,) model of a worker in any process. Collective.
    """

    group: WorkerGroup
    mean: Callable[[], Tensor]
    receive: Callable[[int], Tensor]

    def local(self, flags: np.ndarray) -> np.ndarray:
        """Return (R,) values of this process's workers from (K,) of all."""
        return flags[list(self.group.local_workers)]


def valid_workers(frames: np.ndarray, loss: np.ndarray, finite_mask: np.ndarray, drop_worse: float) -> np.ndarray:
    """Return (K,) bool, which workers' models are used.

    Args:
        frames, loss: see SyncInfo.
        finite_mask: (K,) bool: all parameters are finite.
        drop_worse: nats a frame; a worker whose loss is above the best one by more is left out.
    """
    trained = frames > 0
    good = finite_mask & (~trained | np.isfinite(loss))
    best = min(loss[good & trained], default=np.inf)
    valid: np.ndarray = good & (~trained | (loss <= best + drop_worse))
    return valid


@dataclass(frozen=True, slots=True)
class WorkerWeights:
    """The weight of each worker in a mean.

    by: "frames", in proportion to those trained on (CNTK's model averaging, kaldi-aslp), or "equal" (Kaldi, torch,
        torchft), of workers that have trained.
    best_first: in so many first synchronizations the worker with the least loss alone counts: Kaldi takes the best
        model and no mean in iteration 0, when models change too fast for it.
    """

    by: str = "frames"
    best_first: int = 0

    def weights(self, info: SyncInfo) -> np.ndarray:
        """Return (K,) float64, not negative, at least one above 0."""
        assert info.valid.any()
        active = info.active
        weights: np.ndarray = active
        if info.index < self.best_first and (active & (info.frames > 0)).any():
            best = int(np.argmin(np.where(active, info.loss, np.inf)))
            weights = np.arange(len(active)) == best
        elif self.by == "frames" and info.frames[active].any():
            weights = np.where(active, info.frames, 0)
        return weights.astype(np.float64)
