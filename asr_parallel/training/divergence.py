"""Rules by which all processes of a training find that it has diverged."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.transport import Transport
from asr_parallel.record.log import logger
from asr_parallel.training.schedules import Newbob

if TYPE_CHECKING:
    from asr_parallel.training.evaluation import Score
    from asr_parallel.training.trainer import Trainer

DIVERGED = "training diverged"  # what errors that say so begin with; a comparison marks its cells by it
# Held-out losses in units of the untrained network's, which gives all pdfs about the same probability. Trainings that
# diverged ended at 180 times and more, with limits on their steps at less
DIVERGED_FACTOR = (
    2.0  # at the end, unless it learns its training data: one that learns them too well comes to 2.6 (10 pdfs)
)
HOPELESS_FACTOR = 10.0  # at any time: SGD on 3,000 frames an epoch was at 3.5 after its first epoch and learnt even so


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


def is_sane(trainer: "Trainer", loss_sums: Tensor, frames: Sequence[int]) -> bool:
    """Return whether some worker's loss is one to go on from, so that a checkpoint is of use. Called by all alike.

    Args:
        loss_sums: (R,) of the minibatch just trained, of this process's models; NaN where a model overflows.
        frames: of each of them; 0 where a worker's share has ended.
    """
    own = [loss / n for loss, n in zip(loss_sums.tolist(), frames, strict=True) if n]
    best = min(trainer.group.transport.all_gather_object(min(filter(math.isfinite, own), default=math.inf)))
    if best <= highest_loss(trainer.untrained_loss, trainer.store.num_pdfs):
        return True
    logger.warning("no checkpoint after %d frames: loss %.4g a frame", trainer.frames, best)
    return False


def check_epoch(
    trainer: "Trainer",
    score: "Score",
    of_each: Mapping[str, Any] | None,
    accepted: bool,
    rate: float,
    train_loss: float | None,
) -> None:
    """DivergedError when an epoch has ended with a held-out loss far above the untrained network's.

    Before the last epoch it takes a hopeless loss, as training may come back from a lower one. An epoch that newbob
    takes back is no reason: a lower rate is tried, but some epoch has to be better than none. Nor is a bad mean of
    workers that have never met while one of them is good: they may be of use as an ensemble, or meet later.

    Args:
        score, of_each: of Evaluator.score.
        accepted: by the schedule.
        rate: learning rate per frame, for the message.
        train_loss: of the last minibatches.
    """
    loss, untrained = score.loss, trainer.untrained_loss
    if of_each is not None and trainer.algorithm.ensemble:  # whose best worker is delivered
        loss = min(of_one for of_one in of_each["workers_loss"] if of_one is not None)
    highest = highest_loss(untrained, trainer.store.num_pdfs)
    bad = has_diverged(loss, train_loss if trainer.schedule.finished else 0.0, highest)
    if isinstance(trainer.schedule, Newbob) and not accepted:
        if not trainer.schedule.finished or trainer.schedule.best_loss < untrained:
            return
        if trainer.options.network.start is None:  # a trained network may be the best there is
            bad, highest = not loss <= untrained, untrained
    if not bad:
        return
    if _never_met(trainer) and (best := min(one.loss for one in trainer.evaluator.of_workers().workers)) <= highest:
        logger.warning("workers have not met and have no mean of use: held-out loss %.4g, the best %.4g", loss, best)
        return
    raise DivergedError(
        f"{DIVERGED}: held-out loss {loss:.4g} after {trainer.frames} frames, {untrained:.4g} before training,"
        f" learning rate {rate:.3g} per frame"
    )


def _never_met(trainer: "Trainer") -> bool:
    """Return whether there are several models that no meeting has brought together yet."""
    several = trainer.group.num_workers > 1 and not trainer.algorithm.shared_replica
    return several and not (trainer.rounds.synchronizes and trainer.rounds.num_syncs)


def first_bad(transport: Transport, own: int, everywhere: bool) -> int | None:
    """Frames before the first loss that was not finite; None: the training may go on. Called by all processes alike.

    Args:
        own: this process's, below 0 when all its losses were finite.
        everywhere: whether every process must have such a loss, or one is enough.
    """
    firsts = transport.all_gather_object(own)
    bad = [first for first in firsts if first >= 0]
    return min(bad) if bad and (len(bad) == len(firsts) or not everywhere) else None


def check_common(transport: Transport, parameters: Tensor) -> None:
    """ValueError when processes no longer have the model in common that each of them computes. Called by all alike."""
    sums = transport.all_gather_object(float(parameters.double().sum()))
    if len(set(sums)) > 1 and all(map(math.isfinite, sums)):
        raise ValueError(
            f"the processes' common model has come apart (sums of parameters {sums}): expected machines that compute"
            " alike"
        )
