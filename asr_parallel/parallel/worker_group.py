"""K logical workers: which process of a run has them, and how their models come to all processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from asr_parallel.parallel.transport import SingleProcess, Transport


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """K workers over the P processes of a transport: each process has a run of neighbours, as equally many as can be.

    What a worker does follows from its number and never from its process, so K = 4 gives the same model in 1, 2 and 4
    processes.

    assignment: the numbers of each process's workers, where they are not divided like that.
    """

    num_workers: int = 1
    transport: Transport = field(default_factory=SingleProcess)
    assignment: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when there are fewer workers than processes."""
        if self.num_workers < max(1, self.transport.size):
            raise ValueError(
                f"{self.num_workers} workers in {self.transport.size} processes: expected at least one each"
            )

    def workers_of(self, rank: int) -> Sequence[int]:
        """Return numbers of the workers of a process."""
        if self.assignment is not None:
            return self.assignment[rank]
        return neighbours(self.num_workers, rank, self.transport.size)

    def rank_of(self, worker: int) -> int:
        """Return the process that has a worker."""
        return next(rank for rank in range(self.transport.size) if worker in self.workers_of(rank))

    @property
    def local_workers(self) -> Sequence[int]:
        """Numbers of this process's workers."""
        return self.workers_of(self.transport.rank)

    @property
    def is_main(self) -> bool:
        """True for the process that writes what is written once."""
        return self.transport.rank == 0


def neighbours(num_workers: int, rank: int, size: int) -> range:
    """Return the numbers of the workers of one of `size` processes, as equally many in each as can be."""
    return range(rank * num_workers // size, (rank + 1) * num_workers // size)


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
