"""Who this process is among those of a run, and how they find each other.

Launched by        rank and size from                                          found through
nobody             -                                                           -
--processes P      RANK, WORLD_SIZE, set by `launch` below                     the meeting file
torchrun           RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT                  torchrun's store
mpirun, Open MPI   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE                  the meeting file
mpirun, MPICH      PMI_RANK, PMI_SIZE                                          the meeting file
srun               SLURM_PROCID, SLURM_STEP_NUM_TASKS, in a numbered step         the meeting file

The meeting file lies beside the result, on a disk that all processes see: rank 0 opens a port, any that is free, and
writes its address there with the name of the launch, by which the others know a file that is of an earlier one. MPICH's
mpirun names no launch; there the address of an earlier one is tried, and who answers must know the file's key.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from asr_parallel.parallel.transport import START_SECONDS, Alone, Distributed, LostError, Transport
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger

LAUNCH = "ASR_PARALLEL_LAUNCH"  # environment variable: the name of a launch by `launch`
LOOPBACK = "127.0.0.1"
KEY = "meeting"  # in the store: what the meeting file has as its key
CLEAN_UP_SECONDS = 30  # that processes have to end in when they are told to
CONNECT_SECONDS = 5  # that a connection may take before the meeting file is looked at again

# Environment variables: rank, size, rank on its machine, name of the launch; the first set that is there counts.
# Open MPI 4.1 and 5.0 set PMIX_NAMESPACE; PMI_RANK is of MPICH 4 and 5, and of srun --mpi=pmi2, which has PMI_JOBID
_LAUNCHERS = {
    "torchrun or --processes": ("RANK", "WORLD_SIZE", ("LOCAL_RANK",), (LAUNCH, "TORCHELASTIC_RUN_ID")),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ("OMPI_COMM_WORLD_LOCAL_RANK",),
                 ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")),
    "MPICH": ("PMI_RANK", "PMI_SIZE", ("MPI_LOCALRANKID", "SLURM_LOCALID"), ("PMI_JOBID",)),
    "Slurm": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_LOCALID",), ("SLURM_JOB_ID",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seat:
    """A process's place in a run. launch: a name that no other launch has, "" when the launcher gives none."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launch: str = ""


def seat_of(environment: Mapping[str, str]) -> Seat:
    """Read the launcher's variables.

    Raises:
        ValueError: they are no numbers, or a rank is not below the size.
    """
    for launcher, (rank, size, local, names) in _LAUNCHERS.items():
        if rank not in environment or size not in environment:
            continue
        if launcher == "Slurm" and not environment.get("SLURM_STEP_ID", "").isdecimal():
            continue  # the batch script itself, which nobody is beside
        on_machine = next((environment[name] for name in local if name in environment), environment[rank])
        found = [environment[rank], environment[size], on_machine]
        if not all(text.isdecimal() for text in found) or int(found[0]) >= int(found[1]):
            raise ValueError(f"{launcher}: {rank}={found[0]}, {size}={found[1]}: expected a rank below the size")
        launch = next((environment[name] for name in names if environment.get(name)), "")
        if launcher == "Slurm":
            launch += f".{environment['SLURM_STEP_ID']}.{environment.get('SLURM_RESTART_COUNT', '0')}"
        return Seat(int(found[0]), int(found[1]), int(found[2]), launch)
    return Seat()


def join(meeting: Path, device: str, interface: str | None, timeout: float) -> Transport:
    """Meet the other processes of this run, if there are any.

    Args:
        meeting: the meeting file, not there or of another launch.
        device: "auto", "cpu" or "cuda".
        interface: network interface to be reached by; the loopback one, for a single machine, when not given.
        timeout: seconds without an answer after which a process counts as lost.

    Raises:
        ValueError: an unknown interface, or more processes than GPUs.
        LostError: the others did not come, or nobody answers where rank 0 says it is.
    """
    seat = seat_of(os.environ)
    if seat.size == 1:
        return Alone()
    place = torch.device("cpu")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if seat.local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"process {seat.local_rank} of this machine has no GPU of its own ({torch.cuda.device_count()} there):"
                " start fewer, or give --device cpu"
            )
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # a lost process is to be an error, not an abort
        place = torch.device("cuda", seat.local_rank)
        torch.cuda.set_device(place)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface or "lo")
    if interface:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    wait = timedelta(seconds=timeout)
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        store, _, _ = next(iter(dist.rendezvous("env://", seat.rank, seat.size, timeout=wait)))
    elif seat.rank == 0:
        store = _open(meeting, seat, _address(interface), timeout)
    else:
        store = _find(meeting, seat, timeout)
    return Distributed(seat.rank, seat.size, store, place, timeout)


def _address(interface: str | None) -> str:
    """IPv4 address of an interface of this machine."""
    if interface is None:
        return LOOPBACK
    shown = subprocess.run(["ip", "-json", "-4", "address", "show", "dev", interface], capture_output=True, text=True)
    known = ", ".join(name for _, name in socket.if_nameindex())
    try:
        return str(json.loads(shown.stdout)[0]["addr_info"][0]["local"])
    except (ValueError, LookupError) as error:
        raise ValueError(f"network interface {interface}: has no address here; interfaces: {known}") from error


def _open(meeting: Path, seat: Seat, address: str, timeout: float) -> dist.Store:
    listening = socket.create_server((address, 0))
    port = listening.getsockname()[1]
    store = dist.TCPStore(
        address, port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout),
        master_listen_fd=listening.detach(), use_libuv=False,
    )  # fmt: skip
    key = uuid.uuid4().hex
    store.set(KEY, key)
    meeting.parent.mkdir(parents=True, exist_ok=True)
    write_json(meeting, {"launch": seat.launch, "size": seat.size, "address": address, "port": port, "key": key})
    return store


def _find(meeting: Path, seat: Seat, timeout: float) -> dist.Store:
    deadline, nobody = time.monotonic() + START_SECONDS, f"rank 0 wrote no {meeting}"
    while time.monotonic() < deadline:
        if meeting.is_file():
            found = read_json(meeting)
            if found["launch"] == seat.launch and found["size"] == seat.size:
                nobody = f"nobody answers at {found['address']}:{found['port']}, as {meeting} says"
                try:
                    store = dist.TCPStore(
                        found["address"], found["port"], is_master=False, wait_for_workers=False,
                        timeout=timedelta(seconds=CONNECT_SECONDS), use_libuv=False,
                    )  # fmt: skip
                    if store.get(KEY).decode() == found.get("key"):
                        store.set_timeout(timedelta(seconds=timeout))
                        return store
                except RuntimeError:
                    pass
                logger.debug("%s", nobody)  # left by a launch of this very name, or rank 0 has gone
        time.sleep(0.05)
    raise LostError(f"rank {seat.rank}: {nobody} within {START_SECONDS:g} s")


def launch(arguments: Sequence[str], processes: int, timeout: float, survive: bool = False) -> int:
    """Run `asr-parallel ARGUMENTS` in several processes of this machine and wait for all.

    When one fails, the others have `timeout` seconds and a little more to find out by themselves; if they are to
    survive it, as long as rank 0 needs.

    Returns:
        0, or the exit status of the process that failed first; rank 0's, where the others may fail.
    """
    name = uuid.uuid4().hex
    running: dict[int, subprocess.Popen[bytes]] = {}
    status, deadline = 0, float("inf")
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank), LAUNCH: name}
            own.setdefault("TORCH_CPP_LOG_LEVEL", os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"))  # no stack traces
            command = [sys.executable, "-m", "asr_parallel.cli.main", *arguments]
            # In a session of its own: Ctrl-C comes once to each, from here
            running[rank] = subprocess.Popen(command, env=os.environ | own, start_new_session=True)
        while running:
            time.sleep(0.05)
            for rank, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[rank]
                if process.returncode and not status and (rank == 0 or not survive):
                    status, deadline = process.returncode, time.monotonic() + timeout + 10
            if time.monotonic() > deadline:
                break
    finally:
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(CLEAN_UP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for number, handler in before:
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
