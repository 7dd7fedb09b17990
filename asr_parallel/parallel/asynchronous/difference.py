"""The messages of the DOWNPOUR family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.life import Phase

if TYPE_CHECKING:
    from torch import Tensor


class PushesDifference(AsyncAlgorithm):
    """A rule whose message is what the worker's model has moved since it fetched, and whose worker fetches anew then.

    name     symbol
    period   tau     minibatches between two exchanges
    params   x^i
    kept     x_0     the model that was fetched
    message  v       x^i - x_0: the sum of the updates, -eta sum g^i with plain SGD, by whatever optimiser

    Every update is applied to the center once and whole, so the learning rate is not scaled with K.
    """

    exchange = (Phase.PUSH, Phase.FETCH)

    def fetched(self, params: Tensor, kept: Tensor, center: Tensor, alone: bool) -> None:
        params.copy_(center)
        kept.copy_(center)

    def message(self, params: Tensor, kept: Tensor) -> Tensor:
        import torch

        return torch.sub(params, kept, out=kept)
