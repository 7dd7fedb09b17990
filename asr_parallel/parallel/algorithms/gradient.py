"""Gradients summed over all workers at every minibatch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from asr_parallel.parallel.algorithm import Algorithm, Context
from asr_parallel.parallel.cost import AllReduce, Setting, StepCost, SyncCost
from asr_parallel.parallel.registry import register
from asr_parallel.parallel.sync_info import Sync

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "gradient",
    paper="synchronous SGD; PyTorch's DistributedDataParallel",
    rule="one model, moved by the sum of all workers' gradients at every minibatch",
    use="the baseline; needs a fast network",
)
class Gradient(Algorithm):
    """Synchronous SGD: one model, moved by the gradient of all K workers' minibatches.

    It is what torch's DistributedDataParallel does, and the baseline of every other algorithm.

    name            symbol
    sum_gradients   sum_k g_k   the optimiser calls it where a single worker would have the sum over its frames

    K workers with minibatches of B frames are one worker with minibatches of K B frames: of NG-SGD too, whose sums over
    frames (for the Fisher estimates and the norms) are formed over all workers. Gradients are sums, so the learning
    rate per frame stays what it is; limits on a minibatch's change (nnet/optimizer.py) hold once for all K B frames.
    A step that is not finite in any worker is left out by all.
    """

    exchanges_models = False
    shared_replica = True
    can_take_back_epochs = True
    supports = frozenset({"ema", "workers_first"})
    period = 1

    def start(self, model: Tensor, context: Context) -> None:
        self._transport = context.group.transport

    def sum_gradients(self, tensor: Tensor) -> None:
        """Replace a process's sum over its frames by the sum over all processes'."""
        began = time.monotonic()
        self._transport.all_reduce(tensor)
        self.sum_seconds += time.monotonic() - began
        self.own_bytes += tensor.numel() * tensor.element_size()

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        return params[0]

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        return SyncCost(1.0, all_reduces=work.sums or (AllReduce(4.0 * work.parameters),))
