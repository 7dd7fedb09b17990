"""Rank and size, from each launcher's variables."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from asr_parallel.cli.main import main
from asr_parallel.parallel import rendezvous
from asr_parallel.parallel.process_info import ProcessInfo, process_info
from asr_parallel.parallel.rendezvous import join, loopback_interface
from asr_parallel.parallel.transport import LostError
from asr_parallel.record.files import write_json


@pytest.mark.parametrize(
    ("environment", "seat"),
    [
        ({}, ProcessInfo()),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "ASR_PARALLEL_LAUNCH": "x"}, ProcessInfo(3, 4, 1, "x")),
        (
            {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
             "PMIX_NAMESPACE": "job"},
            ProcessInfo(1, 2, 0, "job"),
        ),
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "9", "SLURM_STEP_ID": "batch"},
            ProcessInfo(),
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, ProcessInfo(1, 2, 1, "")),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "SLURM_LOCALID": "0"}, ProcessInfo(3, 4, 1, "")),
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_JOBID": "7.0", "SLURM_LOCALID": "1"}, ProcessInfo(3, 4, 1, "7.0")),
        (
            {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "9",
             "SLURM_STEP_ID": "0"},
            ProcessInfo(5, 8, 1, "9.0.0"),
        ),
    ],
)  # fmt: skip
def test_seats(environment: dict[str, str], seat: ProcessInfo) -> None:
    assert process_info(environment) == seat


@pytest.mark.parametrize(("there", "name"), [(["lo", "eth0"], "lo"), (["lo0", "en0"], "lo0"), ([], "lo")])
def test_the_loopback_interface_is_called_as_the_system_calls_it(
    there: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(there, start=1)))
    assert loopback_interface() == name


@pytest.mark.parametrize("rank", ["4", "-1", "one"])
def test_a_rank_that_cannot_be(rank: str) -> None:
    with pytest.raises(ValueError, match=f"RANK={rank}, WORLD_SIZE=4: expected a rank below the size"):
        process_info({"RANK": rank, "WORLD_SIZE": "4"})


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}
MPICH = {"PMI_RANK": "3", "PMI_SIZE": "4"}
SLURM = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "beside"),
    [
        ({}, 1),
        (TORCHRUN, 4),  # not known
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "2"}, 2),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, 1),
        (MPICH | {"MPI_LOCALNRANKS": "3"}, 3),
        (MPICH | {"SLURM_STEP_NUM_NODES": "2"}, 2),
        (SLURM, 4),
        (SLURM | {"SLURM_STEP_NUM_NODES": "3"}, 2),
    ],
)
def test_processes_of_a_machine_are_counted(environment: dict[str, str], beside: int) -> None:
    """They share its cores, also where others are on other machines."""
    assert process_info(environment).local_size == beside


@pytest.mark.parametrize(
    ("environment", "spread"),
    [
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}, True),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}, False),
        (TORCHRUN, False),  # not known
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, True),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "SLURM_STEP_NUM_NODES": "2"}, False),
        (MPICH | {"MPI_LOCALNRANKS": "2"}, True),
        (MPICH | {"MPI_LOCALNRANKS": "4"}, False),
        (MPICH | {"SLURM_STEP_NUM_NODES": "2"}, True),  # srun --mpi=pmi2
        (SLURM | {"SLURM_STEP_NUM_NODES": "2"}, True),
        (SLURM | {"SLURM_STEP_NUM_NODES": "1", "SLURM_NNODES": "2"}, False),
    ],
)
def test_several_machines_need_an_interface_which_every_rank_says_at_once(
    environment: dict[str, str], spread: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert process_info(environment).spread == spread
    if not spread:
        return
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "ib0")])
    for rank in ("0", "3"):
        environment[next(iter(environment))] = rank
        with pytest.raises(ValueError, match=rf"^rank {rank}: .* give --interface \(here: eth0, ib0\)"):
            join(tmp_path / "rendezvous", "cpu", None, 60)


def test_an_address_on_another_machines_loopback_is_not_tried(tmp_path: Path) -> None:
    file, seat = tmp_path / "out.rendezvous", process_info(SLURM)
    there = {"launch": seat.launch, "size": 4, "address": "127.0.0.1", "port": 9, "key": "k"}
    write_json(file, there | {"machine": "elsewhere"})
    with pytest.raises(ValueError, match=r"rank 3: rank 0 is on elsewhere; .* give --interface"):
        rendezvous._find(file, seat, 60)


def words(tmp_path: Path, *more: str) -> list[str]:
    return ["train-dnn", "--frames", str(tmp_path / "frames"), "--out", str(tmp_path / "out"), *more]


@pytest.mark.parametrize("environment", [TORCHRUN, OPEN_MPI, MPICH, SLURM])
def test_fewer_workers_than_processes_are_refused_before_anybody_is_waited_for(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As in a shell with left-over variables, or one inside `srun --pty`."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(words(tmp_path, "--workers", "1")) == 1
    rank, size = list(environment)[:2]
    said = capsys.readouterr().err
    assert f"1 workers in 4 processes: expected at least one each; {rank}=3 and {size}=4 say" in said
    assert f"env -u {rank} -u {size} asr-parallel" in said
    assert main(words(tmp_path, "--workers", "4", "--processes", "2")) == 1
    assert f"env -u {rank} -u {size} asr-parallel" in capsys.readouterr().err


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "free"},
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "free"},
    ],
)
def test_when_the_others_do_not_come_the_error_says_how_to_be_alone(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = str(listening.getsockname()[1])
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    for name, value in environment.items():
        monkeypatch.setenv(name, free if value == "free" else value)
    assert main(words(tmp_path, "--workers", "2", "--timeout", "1")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    rank, size = list(environment)[:2]
    assert said.startswith("asr-parallel train-dnn: error: ") and f"env -u {rank} -u {size} asr-parallel" in said
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.rendezvous").exists()


HOLDER = """
import sys
from pathlib import Path
from asr_parallel.record.lock import locked

with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.timeout(60)
def test_when_another_run_has_the_folder_no_rank_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out.training")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "ready\n"
        at_torchrun = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "TORCHELASTIC_RUN_ID": "none"}
        with monkeypatch.context() as torchrun:
            for name, value in (TORCHRUN | at_torchrun | {"RANK": "0"}).items():
                torchrun.setenv(name, value)
            assert main(words(tmp_path, "--workers", "4")) == 1  # and torchrun ends the others
            assert not (tmp_path / "out.rendezvous").exists()
        for rank in ("0", "1", "3"):
            for name, value in (SLURM | {"SLURM_PROCID": rank}).items():
                monkeypatch.setenv(name, value)
            assert main(words(tmp_path, "--workers", "4")) == 1
            assert f"process {holder.pid} on" in capsys.readouterr().err.splitlines()[-1]
        holder.stdin.close()
    for name in SLURM:
        monkeypatch.delenv(name)
    assert main(words(tmp_path)) == 1  # no frames
    assert not list(tmp_path.iterdir())


def test_a_process_that_waits_for_rank_0_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(rendezvous, "START_SECONDS", 0.3)
    monkeypatch.setattr(rendezvous, "WARN_SECONDS", 0.1)
    with pytest.raises(LostError, match="rank 3: rank 0 wrote no"):
        rendezvous._find(tmp_path / "out.rendezvous", process_info(TORCHRUN), 60)
    assert caplog.text.count("waits for rank 0") == 1 and "env -u RANK -u WORLD_SIZE" in caplog.text
