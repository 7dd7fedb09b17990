"""Gradients summed over all workers at every minibatch."""

import time

from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.sync_info import SyncInfo


class Gradient(Algorithm):
    """Synchronous SGD: one model, moved by the gradient of all K workers' minibatches (what torch's
    DistributedDataParallel does); the baseline that every other algorithm is measured against.

    name        symbol
    add         sum_k g_k   the optimiser calls it where a single worker would have the sum over its frames

    K workers with minibatches of B frames are one worker with minibatches of K B frames: of NG-SGD too, whose sums over
    frames (for the Fisher estimates and the norms) are formed over all workers. Gradients are sums, so the learning
    rate per frame stays what it is; limits on a minibatch's change (nnet/max_change.py) hold once for all K B frames.
    A step that is not finite in any worker is left out by all.
    """

    meets = False
    shared_replica = True

    def __init__(self) -> None:
        super().__init__(1)

    def add(self, tensor: Tensor) -> None:
        """Replace what a process has summed over its frames by the sum over all processes'."""
        began = time.monotonic()
        self.group.transport.all_reduce(tensor)
        self.sum_seconds += time.monotonic() - began
        self._bytes += tensor.numel() * tensor.element_size()

    _bytes = 0

    @property
    def bytes_per_worker(self) -> int:
        return self._bytes

    def global_model(self, replicas: Replicas, meeting: SyncInfo) -> Tensor:
        return replicas.parameters[0]
