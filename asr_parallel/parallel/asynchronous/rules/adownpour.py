"""ADOWNPOUR: DOWNPOUR whose model is the mean of all that the center was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.asynchronous.algorithm import PeriodOptions
from asr_parallel.parallel.asynchronous.center import AveragedCenter, Center
from asr_parallel.parallel.asynchronous.difference import PushesDifference
from asr_parallel.parallel.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ADownpourOptions(PeriodOptions):
    """Options of ADOWNPOUR."""


@register(
    "adownpour",
    options=ADownpourOptions,
    paper="Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="DOWNPOUR; the model is the mean of all that the center was",
    use="constant learning rates; with one worker and period 1 it is ASGD",
)
class ADownpour(PushesDifference):
    """ADOWNPOUR (Zhang, Choromanska & LeCun, arXiv 1412.6651, section 5).

    The names and symbols are those of PushesDifference and AveragedCenter, with a_t+1 = 1 / (t + 1): z is the mean of
    x~_0 to x~_t. t is the master's clock, pushes of whatever worker.
    """

    def center(self, model: Tensor) -> Center:
        return AveragedCenter(model, running_mean)


def running_mean(pushes: int) -> float:
    """Return the rate by which an average becomes that of one number more."""
    return 1 / (pushes + 1)
