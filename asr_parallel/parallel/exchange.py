"""Broadcasts of workers' models to all processes, one after the other."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from asr_parallel.parallel.worker_group import WorkerGroup


def every_model(group: WorkerGroup, parameters: Tensor, workers: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield (worker, (P,) model) of these workers of all processes, in their order. Collective.

    While one is looked at the next is already on its way. However many they are, a process holds two models beside its
    own: 2 * 4 * P bytes. A model is the reader's until the next one is asked for, and not to be written to.

    Args:
        parameters: (R, P) float32 of this process's workers, not to be changed before the last model was yielded.
        workers: one at least.
    """
    own, rank = list(group.local_workers), group.transport.rank
    buffers: list[Tensor] = []
    if any(group.rank_of(worker) != rank for worker in workers):
        buffers = [torch.empty_like(parameters[0]) for _ in range(2)]

    def send(n: int) -> tuple[Tensor, Callable[[], None]]:
        source = group.rank_of(workers[n])
        model = parameters[own.index(workers[n])] if source == rank else buffers[n % 2]
        return model, group.transport.start_broadcast(model, source)

    coming = send(0)
    try:
        for n, worker in enumerate(workers):
            model, wait = coming
            coming = send(n + 1) if n + 1 < len(workers) else (model, _nothing)
            wait()
            yield worker, model
    finally:
        coming[1]()  # should nobody ask for it, it is on its way all the same


def _nothing() -> None:
    pass
