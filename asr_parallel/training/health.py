"""Whether a training is still worth going on with, as all its processes see it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asr_parallel.parallel.meeting import DivergedError
from asr_parallel.parallel.transport import Transport
from asr_parallel.record.log import logger
from asr_parallel.training.schedules import Newbob

if TYPE_CHECKING:
    from asr_parallel.training.evaluation import Score
    from asr_parallel.training.trainer import Trainer

DIVERGED = "training diverged"  # what errors that say so begin with; a comparison marks its cells by it
# A held-out loss this many times the untrained network's is one of a training that diverged. An untrained network gives
# all pdfs about the same probability, and one that learns at all is better. Single-speaker networks on other speakers
# have come to 0.8 times that loss (digits); trainings that diverged with a finite loss were at 180 times and more
DIVERGED_FACTOR = 2.0


def highest_loss(untrained: float, num_pdfs: int) -> float:
    """Return the held-out loss (nats a frame) above which a training has diverged.

    Args:
        untrained: held-out loss before the first minibatch. Where a training starts from a trained network, that of
            equal probabilities for all pdfs counts, which is above it.
    """
    return DIVERGED_FACTOR * max(untrained, math.log(num_pdfs))


def is_sane(trainer: "Trainer", loss_sum: float, frames: int) -> bool:
    """Return whether the minibatch just trained is one to keep a checkpoint after. Called by all processes alike.

    Args:
        loss_sum: of this process's frames. One that is not finite is left to others: it is of one worker of several.
        frames: of all workers.
    """
    (total,) = trainer.team.transport.total([loss_sum])
    if not math.isfinite(total) or total <= frames * highest_loss(trainer.untrained_loss, trainer.store.num_pdfs):
        return True
    logger.warning("no checkpoint after %d frames: loss %.4g a frame", trainer.frames, total / frames)
    return False


def check_epoch(
    trainer: "Trainer", score: "Score", of_each: Mapping[str, Any] | None, accepted: bool, rate: float
) -> None:
    """DivergedError when an epoch has ended with a held-out loss far above the untrained network's.

    An epoch that newbob takes back is no reason: a lower rate is tried. But some epoch has to be better than none.

    Args:
        score, of_each: of Judge.score.
        accepted: by the schedule.
        rate: learning rate per frame, for the message.
    """
    loss, untrained = score.loss, trainer.untrained_loss
    if of_each is not None and trainer.algorithm.ensemble:  # whose best worker is delivered
        loss = min(of_one for of_one in of_each["workers_loss"] if of_one is not None)
    highest = highest_loss(untrained, trainer.store.num_pdfs)
    if isinstance(trainer.schedule, Newbob) and not accepted:
        if not trainer.schedule.finished or trainer.schedule.best_loss < untrained:
            return
        if trainer.options.start is None:  # a trained network may be the best there is
            highest = untrained
    if not loss <= highest:
        raise DivergedError(
            f"{DIVERGED}: held-out loss {loss:.4g} after {trainer.frames} frames, {untrained:.4g} before training,"
            f" learning rate {rate:.3g} per frame"
        )


def first_bad(transport: Transport, own: int, everywhere: bool) -> int | None:
    """Frames before the first loss that was not finite; None: the training may go on. Called by all processes alike.

    Args:
        own: this process's, below 0 when all its losses were finite.
        everywhere: whether every process must have such a loss, or one is enough.
    """
    firsts = transport.gather(own)
    bad = [first for first in firsts if first >= 0]
    return min(bad) if bad and (len(bad) == len(firsts) or not everywhere) else None


def check_common(transport: Transport, parameters: Tensor) -> None:
    """ValueError when processes no longer have the model in common that each of them computes. Called by all alike."""
    sums = transport.gather(float(parameters.double().sum()))
    if len(set(sums)) > 1 and all(map(math.isfinite, sums)):
        raise ValueError(
            f"the processes' common model has come apart (sums of parameters {sums}): expected machines that compute"
            " alike"
        )
