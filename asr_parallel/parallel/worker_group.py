"""K logical workers, assignment to the processes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from asr_parallel.parallel.transport import SingleProcess, Transport


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """K workers over the P processes of a transport: each process has a run of neighbours, as equally many as can be.

    What a worker does follows from its number and never from its process, so K = 4 gives the same model in 1, 2 and 4
    processes.

    assignment: the numbers of each process's workers, where they are not assignment like that.
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
        size = self.transport.size
        return range(rank * self.num_workers // size, (rank + 1) * self.num_workers // size)

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
