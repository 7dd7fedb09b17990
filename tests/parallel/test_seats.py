"""Rank and size, from each launcher's variables."""

import pytest

from asr_parallel.parallel.launch import Seat, seat_of


@pytest.mark.parametrize(
    ("environment", "seat"),
    [
        ({}, Seat()),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "ASR_PARALLEL_LAUNCH": "x"}, Seat(3, 4, 1, "x")),
        (
            {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
             "PMIX_NAMESPACE": "job"},
            Seat(1, 2, 0, "job"),
        ),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "9", "SLURM_STEP_ID": "batch"}, Seat()),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Seat(1, 2, 1, "")),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "SLURM_LOCALID": "0"}, Seat(3, 4, 1, "")),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_JOBID": "7.0", "SLURM_LOCALID": "1"}, Seat(3, 4, 1, "7.0")),
        (
            {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "9",
             "SLURM_STEP_ID": "0"},
            Seat(5, 8, 1, "9.0.0"),
        ),
    ],
)  # fmt: skip
def test_seats(environment: dict[str, str], seat: Seat) -> None:
    assert seat_of(environment) == seat


@pytest.mark.parametrize("rank", ["4", "-1", "one"])
def test_a_rank_that_cannot_be(rank: str) -> None:
    with pytest.raises(ValueError, match=f"RANK={rank}, WORLD_SIZE=4: expected a rank below the size"):
        seat_of({"RANK": rank, "WORLD_SIZE": "4"})
