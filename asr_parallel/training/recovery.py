"""Recovery of a training that has lost a process, without going back to a checkpoint.

Logical workers do not depend on processes: those of the lost one move to the others, and all go back to the last
synchronization that every remaining process has seen, or to the beginning. What was trained since then is trained
again. What a worker does follows from its number, so the model becomes what it would have been; only the moved workers'
own state, above all the optimiser's, is lost, and they take over a neighbour's.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.log import logger
from asr_parallel.training.hooks import Hook, TrainingStep
from asr_parallel.training.loop import stacked_state

PARAMETERS = "network.parameters"  # name of the models in a trainer's state


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a loop in memory, right after a synchronization or at the beginning.

    syncs: synchronizations before it.
    frames: of training before it.
    """

    syncs: int
    frames: int
    state: State


class Recovery(Hook):
    """Takes snapshots, and goes back to one when a process is lost.

    snapshots: the last two: other processes are at most one synchronization behind.
    """

    def __init__(self, scheduler: SyncScheduler, state_dict: Callable[[], State]) -> None:
        """Take no snapshot yet.

        Args:
            state_dict: of the loop, not collective.
        """
        self._scheduler, self._state_dict = scheduler, state_dict
        self.snapshots: deque[Snapshot] = deque(maxlen=2)

    def on_sync(self, step: TrainingStep) -> None:
        self.take_snapshot(step.frames)

    def take_snapshot(self, frames: int) -> None:
        """Keep the loop's state, after so many frames."""
        self.snapshots.append(Snapshot(self._scheduler.num_syncs, frames, self._state_dict().clone()))

    def recover(self, error: OSError) -> tuple[WorkerGroup, State]:
        """Agree with the remaining processes on who trains which workers from where.

        Args:
            error: raised if there is no snapshot that all have.

        Returns:
            The remaining group, and the state from which a new trainer of it goes on.

        Raises:
            LostError: rank 0 is lost, the others have gone on without this process, or there was no synchronization
                since a checkpoint.
        """
        before, transport = self._scheduler.group, self._scheduler.group.transport
        own, size = list(before.local_workers), transport.size
        assigned = [list(before.workers_of(rank)) for rank in range(size)]
        left = transport.shrink_group()
        group = WorkerGroup(before.num_workers, transport, _reassign(assigned, left))
        syncs = min(transport.all_gather_object(self.snapshots[-1].syncs if self.snapshots else 0))
        found = next((snapshot for snapshot in self.snapshots if snapshot.syncs == syncs), None)
        if found is None:
            raise error  # only the checkpoint is there to go on from
        lost = [rank for rank in range(size) if rank not in left]
        if group.is_main:
            logger.warning(
                "rank %s of %d lost; worker %s moved; going on in %d processes from synchronization %d,"
                " after %d frames",
                ", ".join(map(str, lost)), size, ", ".join(str(worker) for rank in lost for worker in assigned[rank]),
                len(left), syncs, found.frames,
            )  # fmt: skip
        state = found.state
        model, own_state = self._scheduler.reassigned_worker(state.per_worker[PARAMETERS], state.part("scheduler"))
        fresh = {PARAMETERS: model, **{f"scheduler.{name}": tensor for name, tensor in own_state.items()}}
        workers: dict[int, dict[str, Tensor]] = {}
        for worker in group.local_workers:
            r = own.index(worker) if worker in own else 0
            rows = {name: tensor[r] for name, tensor in state.per_worker.items()}
            if worker not in own:
                rows |= fresh
            workers[worker] = rows
        return group, stacked_state(state.shared, workers, group.local_workers, state.values)


def _reassign(assigned: list[list[int]], left: list[int]) -> tuple[tuple[int, ...], ...]:
    """Return the workers of the remaining processes, by new rank; a lost one's go to whoever has fewest."""
    after = [list(assigned[rank]) for rank in left]
    for rank, workers in enumerate(assigned):
        for worker in workers if rank not in left else ():
            min(after, key=len).append(worker)
    return tuple(map(tuple, after))
