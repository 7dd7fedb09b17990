"""The optimizer state of workers that begin to train later than others."""

from collections.abc import Sequence

import torch

from asr_parallel.nnet.optimizer import Optimizer
from asr_parallel.parallel.worker_group import WorkerGroup

SOURCE = 0  # the worker whose estimates are taken over; the first one trains from the beginning


def take_over_estimates(optimizer: Optimizer, group: WorkerGroup, workers: Sequence[int]) -> None:
    """Give workers that are about to begin the first worker's Fisher estimates. Collective.

    The passes over a first minibatch and the early updates (nnet/natural_gradient.py) are counted for all replicas
    together, so they are over when these workers begin. Their own estimates would start from nothing and hardly move.
    Other state, as velocities, stays: what it starts from needs no minibatches.

    Args:
        optimizer: with a replica for each of this process's workers.
        workers: numbers of those that begin, the same in every process.
    """
    if not optimizer.estimates_fisher or not workers:
        return
    own, source = list(group.local_workers), group.rank_of(SOURCE)
    state = optimizer.state()
    for tensor in state.values():
        if not tensor.is_floating_point():  # counts: of calls, the same everywhere, and of a worker's skipped steps
            continue
        row = tensor[own.index(SOURCE) if SOURCE in own else 0].clone(memory_format=torch.contiguous_format)
        group.transport.start_broadcast(row, source)()
        for worker in workers:
            if worker in own:
                tensor[own.index(worker)] = row
    optimizer.restore(state)
