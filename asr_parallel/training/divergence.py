"""Rules by which all processes of a training find that it has diverged."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.transport import Transport
from asr_parallel.record.log import logger
from asr_parallel.training.evaluation import DIVERGED, Evaluator
from asr_parallel.training.hooks import EpochEnd, Hook, TrainingStep
from asr_parallel.training.schedules import Newbob, Schedule

# Held-out losses in units of the untrained network's, which gives all pdfs about the same probability. Trainings that
# diverged ended at 180 times and more, with limits on their steps at less
# At the end, unless it learns its training data: one that learns them too well comes to 2.6 (10 pdfs)
DIVERGED_FACTOR = 2.0
HOPELESS_FACTOR = 10.0  # at any time: SGD on 3,000 frames an epoch was at 3.5 after its first epoch and learnt even so


class DivergenceCheck(Hook):
    """Ends a training whose losses are not finite, or whose held-out loss is far above the untrained network's."""

    def __init__(
        self,
        network: StackedNetwork,
        scheduler: Scheduler,
        schedule: Schedule,
        evaluator: Evaluator,
        untrained_loss: float,
        minibatch: int,
        pretrained: bool,
    ) -> None:
        """Start with no loss seen.

        Args:
            untrained_loss: held-out loss before the first minibatch.
            minibatch: frames of a worker's minibatch.
            pretrained: whether training starts from a trained network.
        """
        self._scheduler, self._schedule, self._evaluator = scheduler, schedule, evaluator
        self._group, self._algorithm = scheduler.group, scheduler.algorithm
        self._untrained, self._minibatch, self._pretrained = untrained_loss, minibatch, pretrained
        self.highest_loss = highest_loss(untrained_loss, network.spec.num_pdfs)
        # Frames before the first loss of the epoch that was not finite; below 0: all were finite
        self._bad = torch.full((), -1, dtype=torch.int64, device=network.device)
        self._numbers: dict[int, int] = {}  # of the epoch's minibatches, by the frames before them

    def on_batch(self, step: TrainingStep) -> None:
        assert step.loss_sums is not None
        everywhere = self._algorithm.period is None
        wrong = ~step.loss_sums.isfinite().any() if everywhere else ~step.loss_sums.sum().isfinite()
        self._bad = torch.where((self._bad < 0) & wrong, step.before, self._bad)
        self._numbers[step.before] = step.number
        if step.due or step.last:
            self._check_losses()
        if step.last:
            self._numbers.clear()
            self._bad.fill_(-1)

    def _check_losses(self) -> None:
        """Raise DivergedError when a minibatch's loss was not finite. Waits for the GPU, so it is called now and then.

        Workers that synchronize go on: one whose loss is not finite is left out and takes over the others' model.
        """
        if self._scheduler.synchronizes and self._group.num_workers > 1:
            return
        frames = check_divergence(self._group.transport, int(self._bad), everywhere=self._algorithm.period is None)
        if frames is not None:
            number = self._numbers[frames]
            if self._algorithm.asynchronous:  # theirs are pushes; this is a worker's on average
                number = frames // (self._minibatch * self._group.num_workers) + 1
            rate = self._schedule.learning_rate(frames)
            raise DivergedError(
                f"{DIVERGED}: the loss of minibatch {number} (after {frames} frames) is not finite, learning rate"
                f" {rate:.3g} per frame"
            )

    def is_sane(self, loss_sums: Tensor, frames: Sequence[int], after: int) -> bool:
        """Return whether some worker's loss is low enough for a checkpoint to be of use. Collective.

        Args:
            loss_sums: (R,) of the minibatch just trained, of this process's models; NaN where a model overflows.
            frames: of each of them; 0 where a worker's share has ended.
            after: frames of training, for the log.
        """
        own = [loss / n for loss, n in zip(loss_sums.tolist(), frames, strict=True) if n]
        best = min(self._group.transport.all_gather_object(min(filter(math.isfinite, own), default=math.inf)))
        if best <= self.highest_loss:
            return True
        logger.warning("no checkpoint after %d frames: loss %.4g a frame", after, best)
        return False

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Raise DivergedError when the held-out loss is far above the untrained network's.

        Before the last epoch it takes a hopeless loss, as training may come back from a lower one. An epoch that newbob
        rejects is no reason: a lower rate is tried, but some epoch has to be better than none. Nor is a bad mean of
        workers that have never synchronized while one of them is good: they may be of use as an ensemble, or
        synchronize later.
        """
        loss, highest = end.loss, self.highest_loss
        if end.per_worker is not None and self._algorithm.ensemble:  # the best worker's model is exported
            loss = min(of_one for of_one in end.per_worker["workers_loss"] if of_one is not None)
        bad = has_diverged(loss, end.train_loss if end.finished else 0.0, highest)
        if isinstance(self._schedule, Newbob) and not end.accepted:
            if not end.finished or self._schedule.best_loss < self._untrained:
                return
            if not self._pretrained:  # a trained network may be the best there is
                bad, highest = not loss <= self._untrained, self._untrained
        if not bad:
            return
        if self._never_synchronized():
            best = min(one.loss for one in self._evaluator.of_workers().workers)
            if best <= highest:
                logger.warning(
                    "workers have never synchronized and have no mean of use: held-out loss %.4g, the best %.4g",
                    loss, best,
                )  # fmt: skip
                return
        raise DivergedError(
            f"{DIVERGED}: held-out loss {loss:.4g} after {end.frames} frames, {self._untrained:.4g} before training,"
            f" learning rate {end.learning_rate:.3g} per frame"
        )

    def _never_synchronized(self) -> bool:
        """Return whether there are several models that no synchronization has brought together yet."""
        several = self._group.num_workers > 1 and not self._algorithm.shared_replica
        return several and not (self._scheduler.synchronizes and self._scheduler.num_syncs)


def highest_loss(untrained: float, num_pdfs: int) -> float:
    """Return the loss (nats a frame) above which a training may have diverged.

    Args:
        untrained: held-out loss before the first minibatch. Where a training starts from a trained network, that of
            equal probabilities for all pdfs counts, which is above it.
    """
    return DIVERGED_FACTOR * max(untrained, math.log(num_pdfs))


def has_diverged(loss: float, train_loss: float | None, highest: float) -> bool:
    """Return whether a training that ends so has diverged.

    Args:
        loss: on held-out data, nats a frame.
        train_loss: of the last minibatches; None: not finite, or not known.
        highest: of highest_loss.
    """
    learns = train_loss is not None and train_loss <= highest / DIVERGED_FACTOR
    return not loss <= (HOPELESS_FACTOR / DIVERGED_FACTOR * highest if learns else highest)


def check_divergence(transport: Transport, own: int, everywhere: bool) -> int | None:
    """Return the frames before the first loss that was not finite; None: the training may go on. Collective.

    Args:
        own: this process's, below 0 when all its losses were finite.
        everywhere: whether every process must have such a loss, or one is enough.
    """
    firsts = transport.all_gather_object(own)
    bad = [first for first in firsts if first >= 0]
    return min(bad) if bad and (len(bad) == len(firsts) or not everywhere) else None


def check_replicas_equal(transport: Transport, parameters: Tensor) -> None:
    """Raise ValueError when the model that all processes compute alike differs between them. Collective."""
    sums = transport.all_gather_object(float(parameters.double().sum()))
    if len(set(sums)) > 1 and all(map(math.isfinite, sums)):
        raise ValueError(
            f"the processes' shared model differs between them (sums of parameters {sums}): expected machines that"
            " compute alike"
        )
