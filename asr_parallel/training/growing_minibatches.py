"""Minibatches of workers whose number grows during the training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.algorithm import BaseAlgorithm
from asr_parallel.parallel.worker_ramp import WorkerRamp
from asr_parallel.training.augmentation import Augmentation
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.ramp_plan import RampPlan


class GrowingMinibatches(Minibatches):
    """Minibatches of R of K workers, of which at first only the first ones train.

    What is seen in an epoch is what K workers would see in it, shuffled as theirs, with the same minibatches. A worker
    that does not train in a turn is given frames of NaN, which an optimiser leaves out.

    Every process shuffles the rows of all shares to make an epoch's order, which has a row (4 bytes) for each of its
    workers in each turn, whether they train or not: in one process up to K / N numbers a frame of the training data
    where N train at first, most in the first epoch.
    """

    def __init__(
        self, store: FrameStore, shares: Sequence[np.ndarray], workers: Sequence[int], ramp: WorkerRamp, epochs: int,
        minibatch: int, seed: int, augmentation: Augmentation | None, dtype: torch.dtype, device: torch.device,
    ) -> None:  # fmt: skip
        """Set up; nothing is read yet.

        Args:
            shares: rows of the store of all K workers' shares.
            workers: numbers of these R workers.
            ramp: how many train.
            epochs: of the training.
            minibatch, seed, augmentation, dtype, device: see Minibatches.
        """
        frames = [len(share) for share in shares]
        own = [shares[worker] for worker in workers]
        super().__init__(store, own, workers, minibatch, seed, augmentation, dtype, device, frames=frames)
        self.plan, self._every_share = RampPlan(self.counts, ramp, epochs), list(shares)

    def minibatches_in(self, epoch: int) -> int:
        return len(self.plan.widths(epoch))

    def minibatches_before(self, epoch: int) -> int:
        return self.plan.first_turn(epoch)

    def working(self, epoch: int, k: int) -> int:
        """Return how many workers are to train in turn k of an epoch; in its last turn there may be fewer left."""
        return self.plan.working(self.plan.first_turn(epoch) + k)

    def beginning(self, epoch: int, k: int) -> Sequence[int]:
        return self.plan.beginning(epoch, k)

    def rate_share(self, algorithm: BaseAlgorithm, epoch: int, k: int) -> float:
        """Return the learning rate of one of m workers that train in turn k over that of one of K.

        The mean of m models has an m-th of what each has learnt, as that of K has a K-th. So where rates go with K they
        go with m here, as in Kaldi, and the effective rate is that of a training without a ramp.
        """
        return algorithm.worker_lr_scale(self.working(epoch, k)) / algorithm.worker_lr_scale(len(self.counts))

    def frames(self, first: int, last: int, epoch: int = 0) -> np.ndarray:
        widths = self.plan.widths(epoch)[first:last, None]
        frames: np.ndarray = (widths > np.arange(len(self.counts))).sum(axis=0, dtype=np.int64) * self.minibatch
        return frames

    def active(self, k: int, epoch: int = 0) -> Tensor | None:
        width = int(self.plan.widths(epoch)[k])
        if width > max(self._workers):
            return None
        return torch.tensor([worker < width for worker in self._workers], device=self._device)

    def _order(self, epoch: int) -> np.ndarray:
        shuffled = [self._shuffled(share, worker, epoch) for worker, share in enumerate(self._every_share)]
        rows = np.concatenate(shuffled).reshape(-1, self.minibatch)
        order = np.empty((len(self._workers), self.minibatches_in(epoch), self.minibatch), dtype=self._row_dtype)
        for own, worker in zip(order, self._workers, strict=True):
            turns, minibatches = self.plan.minibatches(epoch, worker)
            own[:] = rows[0, 0]
            own[turns] = rows[minibatches]
        return order.reshape(len(order), -1)
