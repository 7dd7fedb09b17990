"""Threads of each process: the user's, one for a small network, or a share of the cores."""

import os
from typing import Any

import pytest

from asr_parallel.parallel import cores
from asr_parallel.parallel.cores import SMALL, default_threads, share_of_cores
from asr_parallel.parallel.transport import SingleProcess


class Beside(SingleProcess):
    """A process beside others of which we know what they tell."""

    def __init__(self, received: list[dict[str, Any]], rank: int = 0) -> None:
        self.rank, self.size, self._received = rank, len(received), received

    def all_gather_object(self, value: Any) -> list[Any]:
        return self._received


def on(machine: str, count: int, first: int = 0, quota: float = 1000) -> dict[str, Any]:
    return {"machine": machine, "cores": list(range(first, first + count)), "quota": quota}


@pytest.mark.parametrize(
    ("received", "shares"),
    [
        ([on("a", 8)], [8]),
        ([on("a", 8)] * 2, [4, 4]),  # torchrun, --processes, MPICH: nobody is bound
        ([on("a", 2)] * 4, [1, 1, 1, 1]),
        ([on("a", 8)] * 3, [2, 2, 2]),
        ([on("a", 4), on("a", 4, 4)], [4, 4]),  # Slurm: bound to cores of their own
        ([on("a", 4)] * 2 + [on("a", 4, 4)] * 2, [2, 2, 2, 2]),  # Open MPI: bound to a socket
        ([on("a", 8)] * 2 + [on("b", 8)], [4, 4, 8]),
        ([on("a", 64, quota=4)], [4]),
        ([on("a", 64, quota=1.5)], [2]),
        ([on("a", 64, quota=4)] * 2, [2, 2]),
        ([on("a", 64, quota=0.5)] * 2, [1, 1]),
    ],
)
def test_processes_of_a_machine_share_its_cores(received: list[dict[str, Any]], shares: list[int]) -> None:
    assert [share_of_cores(rank, received) for rank in range(len(received))] == shares


@pytest.mark.parametrize(
    ("environment", "products", "threads"),
    [
        ({}, SMALL, 4),
        ({}, SMALL - 1, 1),
        ({"OMP_NUM_THREADS": "1"}, SMALL, 1),  # as torchrun sets it
        ({"OMP_NUM_THREADS": "3"}, SMALL - 1, 3),
        ({"OMP_NUM_THREADS": "6,2"}, SMALL, 6),
        ({"OMP_NUM_THREADS": ""}, SMALL, 4),
        ({"OMP_NUM_THREADS": "0"}, SMALL, 4),
        ({"SLURM_CPUS_PER_TASK": "2"}, SMALL, 2),
        ({"SLURM_CPUS_PER_TASK": "16"}, SMALL, 4),
        ({"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "5"}, SMALL, 5),
    ],
)
def test_the_environment_decides_before_the_cores(environment: dict[str, str], products: int, threads: int) -> None:
    assert default_threads(Beside([on("a", 8)] * 2), products, environment) == threads


def test_this_process_tells_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: [1, 5, 7])
    monkeypatch.setattr(cores, "cpu_quota", lambda: float("inf"))
    assert default_threads(SingleProcess(), SMALL, {}) == 3
    monkeypatch.setattr(cores, "cpu_quota", lambda: 2.0)
    assert default_threads(SingleProcess(), SMALL, {}) == 2
    assert (
        default_threads(SingleProcess(), 512 * 512**2, os.environ | {"OMP_NUM_THREADS": ""}) == 2
    )  # the default network
    assert default_threads(SingleProcess(), 64 * 512**2, {}) == 1
