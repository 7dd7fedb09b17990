"""MVADOWNPOUR: DOWNPOUR whose model is a moving average of the center."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.asynchronous.algorithm import PeriodOptions
from asr_parallel.parallel.asynchronous.center import AveragedCenter, Center
from asr_parallel.parallel.asynchronous.difference import PushesDifference
from asr_parallel.parallel.registry import register
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MVADownpourOptions(PeriodOptions):
    """Options of MVADOWNPOUR."""

    average_rate: float = option(
        0.001, "part of the center that the average takes in at every push", above=0, most=1,
        source="Zhang, Choromanska & LeCun, section 5",
    )  # fmt: skip


@register(
    "mvadownpour",
    options=MVADownpourOptions,
    paper="Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="DOWNPOUR; the model is a moving average of the center",
    use="constant learning rates, many pushes; with one worker and period 1 it is MVASGD",
)
class MVADownpour(PushesDifference):
    """MVADOWNPOUR (Zhang, Choromanska & LeCun, arXiv 1412.6651, section 5).

    The names and symbols are those of PushesDifference and AveragedCenter, with the constant a_t+1 = average_rate.
    After n pushes (1 - average_rate)^n of the initial model is left in it, so it needs many times 1 / average_rate.
    """

    def center(self, model: Tensor) -> Center:
        rate: float = self.options.average_rate
        return AveragedCenter(model, lambda pushes: rate)
