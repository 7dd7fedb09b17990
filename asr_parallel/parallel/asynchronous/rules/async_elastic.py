"""Asynchronous elastic averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.algorithms.elastic import ElasticOptions
from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm, PeriodOptions
from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.registry import register
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor

BETA = ElasticOptions().elastic_beta


@dataclass(frozen=True)
class AsyncElasticOptions(PeriodOptions):
    """Options of asynchronous elastic averaging."""

    elastic_beta: float = option(
        BETA, "K times the part of its way to the center that a worker goes", above=0,
        source="Zhang, Choromanska & LeCun, section 5",
    )  # fmt: skip


@register(
    "async-elastic",
    options=AsyncElasticOptions,
    paper="Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="a worker and the center move towards each other, whenever the worker is ready",
    use="workers of unequal speed; slow networks; with --optimizer nesterov it is EAMSGD",
)
class AsyncElastic(AsyncAlgorithm):
    """Asynchronous EASGD (Zhang, Choromanska & LeCun, arXiv 1412.6651, Algorithm 1), in the order of the authors' mpiT.

    name     symbol
    beta     beta    alpha K
             alpha   eta rho, the part of the way that both go
    period   tau     minibatches between two exchanges
    params   x^i
    center   x~
    kept     e       alpha (x^i - x~), with x^i before the step: x~ <- x~ + e, x^i <- x^i - eta g^i(x^i) - e

    An exchange leaves sum_i x^i + x~ as it is. With Nesterov's momentum in the workers (the paper's delta is 0.99) it
    is EAMSGD. As all gradients end up in the center, divided by K + 1, the learning rate is K times the effective one.
    """

    exchange = (Phase.FETCH, Phase.PUSH)
    lr_scales_with_workers = True

    def start(self, num_workers: int) -> None:
        """Raise ValueError for an unstable beta.

        In round robin on a quadratic of curvature h, 0 <= alpha <= (4 - 2 eta h) / (4 - eta h) (section 3.1). That is 1
        in a flat direction and less in others: an exchange multiplies x^i - x~ by 1 - 2 alpha.
        """
        if self.options.elastic_beta > num_workers:
            raise ValueError(
                f"elastic_beta {self.options.elastic_beta} with {num_workers} workers: expected at most {num_workers};"
                " above that an exchange drives a worker and the center apart"
            )
        self.alpha = self.options.elastic_beta / num_workers

    def join(self, params: Tensor, kept: Tensor, center: Tensor) -> None:
        params.copy_(center)
        kept.zero_()

    def fetched(self, params: Tensor, kept: Tensor, center: Tensor, alone: bool) -> None:
        import torch

        torch.sub(params, center, out=kept).mul_(self.alpha)

    def message(self, params: Tensor, kept: Tensor) -> Tensor:
        return kept

    def stepped(self, params: Tensor, kept: Tensor) -> bool:
        params.sub_(kept)
        return True
