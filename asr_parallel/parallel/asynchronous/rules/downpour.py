"""DOWNPOUR: workers push what they have learnt, and take over the center's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.asynchronous.algorithm import PeriodOptions
from asr_parallel.parallel.asynchronous.difference import PushesDifference
from asr_parallel.parallel.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DownpourOptions(PeriodOptions):
    """Options of DOWNPOUR."""


@register(
    "downpour",
    options=DownpourOptions,
    paper="Dean et al., 2012; Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="a worker pushes what it has learnt since it fetched, and fetches anew",
    use="short periods; the baseline of asynchronous training",
)
class Downpour(PushesDifference):
    """DOWNPOUR (Dean et al., 2012, as in Zhang, Choromanska & LeCun, arXiv 1412.6651, section 5; mpiT).

    The names and symbols are those of PushesDifference; x~ <- x~ + v, then x^i <- x~.

    Where nobody else has pushed, x~ is the worker's model up to rounding: the worker keeps its own, whose next message
    makes up for that. So a lone worker is plain SGD, bit for bit.
    """

    def fetched(self, params: Tensor, kept: Tensor, center: Tensor, alone: bool) -> None:
        if not alone:
            params.copy_(center)
        kept.copy_(center)

    def left_over(self, params: Tensor, center: Tensor) -> Tensor | None:
        import torch

        return None if torch.equal(params, center) else params - center
