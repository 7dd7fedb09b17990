"""The number of threads that each process of a run computes with."""

import math
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from asr_parallel.parallel.transport import Transport
from asr_parallel.record.environment import available_cores, cpu_quota

# Multiply-adds of a hidden layer's product up to which a minibatch is not shared among threads. benchmarks/threads.py:
# a second one that sleeps when it waits slows 64 frames of 512 units, and makes 256 frames of them 1.3 times as fast
SMALL = 1 << 25


def default_threads(transport: Transport, products: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's number of threads where none is asked for. Collective.

    OMP_NUM_THREADS where it is set, as torchrun does; one for a small network; else this process's share of the cores
    of its machine. It depends on no load, so that the same command computes the same bits.

    Args:
        products: multiply-adds of a hidden layer's product, over all replicas of the process.
    """
    return _threads(transport.rank, transport.all_gather_object(_this_machine()), products, environment)


def threads_beside(processes: int, products: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return default_threads of one of so many processes of this machine, of which none is asked."""
    return _threads(0, [_this_machine()] * processes, products, environment)


def _this_machine() -> dict[str, Any]:
    cores = available_cores()
    return {"machine": socket.gethostname(), "cores": cores, "quota": min(cpu_quota(), len(cores))}


def _threads(rank: int, gathered: Sequence[Mapping[str, Any]], products: int, environment: Mapping[str, str]) -> int:
    given = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list has those of nested regions
    if given.isdecimal() and int(given) > 0:
        return int(given)
    if products < SMALL:
        return 1
    share = share_of_cores(rank, gathered)
    of_task = environment.get("SLURM_CPUS_PER_TASK", "")  # which may be more or less than Slurm has bound it to
    return min(share, int(of_task)) if of_task.isdecimal() and int(of_task) > 0 else share


def share_of_cores(rank: int, gathered: Sequence[Mapping[str, Any]]) -> int:
    """Return how many cores a process has when those on its machine share them evenly; at least one.

    A core counts by how many may run on it, so that it does not matter whether a launcher binds processes to cores.

    Args:
        gathered: of each rank its machine's name, the numbers of the cores it may run on, and its quota in cores.
    """
    mine = gathered[rank]
    beside = [one for one in gathered if one["machine"] == mine["machine"]]
    users = Counter(core for one in beside for core in one["cores"])
    cores = sum(1 / users[core] for core in mine["cores"])
    quota: float = math.ceil(mine["quota"]) / len(beside)
    return max(1, math.floor(min(cores, quota) + 1e-9))
