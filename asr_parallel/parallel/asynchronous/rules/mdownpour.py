"""MDOWNPOUR: DOWNPOUR with Nesterov's momentum at the center."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.asynchronous.algorithm import AsyncOptions
from asr_parallel.parallel.asynchronous.center import DELTA, Center, MomentumCenter
from asr_parallel.parallel.asynchronous.difference import PushesDifference
from asr_parallel.parallel.registry import register
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MDownpourOptions(AsyncOptions):
    """Options of MDOWNPOUR."""

    center_momentum: float = option(
        DELTA, "of the center, Nesterov's", least=0, below=1, source="Zhang, Choromanska & LeCun, section 5"
    )


@register(
    "mdownpour",
    options=MDownpourOptions,
    paper="Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="DOWNPOUR after every minibatch, with Nesterov's momentum at the center",
    use="few workers; with one worker it is MSGD",
)
class MDownpour(PushesDifference):
    """MDOWNPOUR (Zhang, Choromanska & LeCun, arXiv 1412.6651, section 5).

    The names and symbols are those of PushesDifference and MomentumCenter. Workers fetch x~ + delta v, where the next
    gradient is to be taken. A message counts 1 / (1 - delta) times in the long run, so a worker's learning rate is
    1 - delta times the effective one, as with momentum in workers (nnet/optimizers.py).
    """

    @property
    def period(self) -> int:
        """Always 1: the paper's momentum is for single gradients."""
        return 1

    def worker_lr_scale(self, num_workers: int) -> float:
        return 1.0 - float(self.options.center_momentum)

    def center(self, model: Tensor) -> Center:
        return MomentumCenter(model, self.options.center_momentum)
