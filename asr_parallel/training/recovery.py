"""How a training goes on when a process is lost, without going back to a checkpoint.

Logical workers do not depend on processes: those of the lost one move to the others, which begin them where all were
after the last meeting that everybody left has seen, or at the very beginning. What was trained since then is trained
again. All that a worker does follows from its number, so the model becomes what it would have been; only what the moved
workers had for themselves, the optimiser's state above all, is gone, and they take over a neighbour's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asr_parallel.parallel.state import State
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.log import logger
from asr_parallel.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from asr_parallel.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A process's state right after a meeting, or at the beginning.

    shared, own: tensors, the latter (R, ...); state: as in a Checkpoint.
    """

    meetings: int
    frames: int
    shared: dict[str, Tensor]
    own: dict[str, Tensor]
    state: dict[str, Any]


def mark(trainer: "Trainer") -> Snapshot:
    """The state of a trainer, right after a meeting or at the beginning; every process on its own."""
    syncs = trainer.rounds.state_dict()
    own = {"parameters": trainer.network.parameters, **syncs.per_worker}
    if trainer.best is not None:
        own["best"] = trainer.best
    state = {
        "epoch": trainer.epoch,
        "minibatch": trainer.minibatch,
        "schedule": trainer.schedule.state(),
        "syncs": syncs.values,
        "watch": None,
    }
    return Snapshot(
        trainer.rounds.num_syncs,
        trainer.frames,
        {name: tensor.clone() for name, tensor in syncs.shared.items()},
        {name: tensor.clone() for name, tensor in own.items()} | trainer.optimizer.state(),
        state,
    )


def rescue(trainer: "Trainer", error: OSError) -> tuple[WorkerGroup, Checkpoint]:
    """Agree with the others that are left on who trains on whose data from where.

    Args:
        trainer: which a lost process has ended.

    Returns:
        The team of those left, and what a trainer of it is to resume from.

    Raises:
        LostError: rank 0 is lost, the others have gone on without this process, or the workers have not met
            since a checkpoint.
    """
    before, transport = trainer.group, trainer.group.transport
    own, size = list(before.local_workers), transport.size
    dealt = [list(before.workers_of(rank)) for rank in range(size)]
    left = transport.shrink_group()
    group = WorkerGroup(before.num_workers, transport, _deal(dealt, left))
    meetings = min(transport.all_gather_object(trainer.marks[-1].meetings if trainer.marks else 0))
    found = next((mark for mark in trainer.marks if mark.meetings == meetings), None)
    if found is None:
        raise error  # before the first meeting since a checkpoint, which is all there is to go on from
    lost = [rank for rank in range(size) if rank not in left]
    if group.is_main:
        logger.warning(
            "rank %s of %d lost; worker %s moved; going on in %d processes from meeting %d, after %d frames",
            ", ".join(map(str, lost)), size, ", ".join(str(worker) for rank in lost for worker in dealt[rank]),
            len(left), meetings, found.frames,
        )  # fmt: skip
    names = trainer.rounds.state_dict().per_worker
    syncs = State(found.shared, {name: found.own[name] for name in names})
    model, tensors = trainer.rounds.reassigned_worker(found.own["parameters"], syncs)
    workers = {}
    for worker in group.local_workers:
        r = own.index(worker) if worker in own else 0
        workers[worker] = {name: tensor[r] for name, tensor in found.own.items()}
        if worker not in own:
            workers[worker] |= {"parameters": model, **tensors}
    return group, Checkpoint(found.frames, found.shared, found.state, workers)


def _deal(dealt: list[list[int]], left: list[int]) -> tuple[tuple[int, ...], ...]:
    """Workers of those that are left, by new rank; those of the lost go to whoever has fewest."""
    after = [list(dealt[rank]) for rank in left]
    for rank, workers in enumerate(dealt):
        for worker in workers if rank not in left else ():
            min(after, key=len).append(worker)
    return tuple(map(tuple, after))
