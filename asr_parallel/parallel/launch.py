"""Who this process is among those of a run, and how they find each other.

Launched by        rank and size from                                          found through
nobody             -                                                           -
--processes P      RANK, WORLD_SIZE, set by `launch` below                     the meeting file
torchrun           RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT                  torchrun's store, of one attempt
mpirun, Open MPI   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE                  the meeting file
mpirun, MPICH      PMI_RANK, PMI_SIZE                                          the meeting file
srun               SLURM_PROCID, SLURM_STEP_NUM_TASKS, in a numbered step         the meeting file

The meeting file lies beside the result, on a disk that all processes see: rank 0 opens a port, any that is free, and
writes its address there with the name of the launch, by which the others know a file that is of an earlier one. MPICH's
mpirun names no launch; there the address of an earlier one is tried, and who answers must know the file's key.
"""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from asr_parallel.parallel.transport import START_SECONDS, Distributed, LostError, SingleProcess, Transport
from asr_parallel.record.child_processes import PARENT, STOP_SECONDS
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.interrupt import Interrupted, signals_ignored
from asr_parallel.record.log import logger

LAUNCH = "ASR_PARALLEL_LAUNCH"  # environment variable: the name of a launch by `launch`
LOOPBACK = "127.0.0.1"
KEY = "meeting"  # in the store: what the meeting file has as its key
CONNECT_SECONDS = 5  # that a connection may take before the meeting file is looked at again

WARN_SECONDS = 10  # without rank 0 after which a process says what it waits for

# Environment variables: rank, size, rank on its machine, processes there, name of the launch; the first set that is
# there counts. Slurm has no number of processes there, but SLURM_STEP_NUM_NODES.
# Open MPI 4.1 and 5.0 set PMIX_NAMESPACE; PMI_RANK is of MPICH 4 and 5, and of srun --mpi=pmi2, which has PMI_JOBID
_LAUNCHERS = {
    "torchrun or --processes": ("RANK", "WORLD_SIZE", ("LOCAL_RANK",), "LOCAL_WORLD_SIZE",
                                (LAUNCH, "TORCHELASTIC_RUN_ID")),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ("OMPI_COMM_WORLD_LOCAL_RANK",),
                 "OMPI_COMM_WORLD_LOCAL_SIZE", ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")),
    "MPICH": ("PMI_RANK", "PMI_SIZE", ("MPI_LOCALRANKID", "SLURM_LOCALID"), "MPI_LOCALNRANKS", ("PMI_JOBID",)),
    "Slurm": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_LOCALID",), "", ("SLURM_JOB_ID",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seat:
    """A process's place in a run.

    launch: a name that no other launch has, "" when the launcher gives none.
    spread: the launcher says that the processes are on several machines.
    variables: names of the two that rank and size are from.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launch: str = ""
    spread: bool = False
    variables: tuple[str, ...] = field(default=(), compare=False)

    def how_to_be_alone(self) -> str:
        """Say why this process looks for others, for a user who did not ask for that."""
        rank, size = self.variables
        return (
            f"{rank}={self.rank} and {size}={self.size} say that this process is one of {self.size};"
            f" to run it alone: env -u {rank} -u {size} asr-parallel ..."
        )

    def check_workers(self, workers: int) -> None:
        """ValueError when there are fewer workers than processes."""
        if workers < self.size:
            why = f"; {self.how_to_be_alone()}" if self.variables else ""
            raise ValueError(f"{workers} workers in {self.size} processes: expected at least one each{why}")


def seat_of(environment: Mapping[str, str]) -> Seat:
    """Read the launcher's variables.

    Raises:
        ValueError: they are no numbers, or a rank is not below the size.
    """
    for launcher, (rank, size, local, beside, names) in _LAUNCHERS.items():
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
        there = environment.get(beside, "")
        spread = there.isdecimal() and int(there) < int(found[1])
        if launcher in ("MPICH", "Slurm") and not there:
            spread = environment.get("SLURM_STEP_NUM_NODES", "1") != "1"
        return Seat(int(found[0]), int(found[1]), int(found[2]), launch, spread, (rank, size))
    return Seat()


def join(meeting: Path, device: str, interface: str | None, timeout: float) -> Transport:
    """Meet the other processes of this run, if there are any.

    Args:
        meeting: the meeting file, not there or of another launch.
        device: "auto", "cpu" or "cuda".
        interface: network interface to be reached by; the loopback one, for a single machine, when not given.
        timeout: seconds without an answer after which a process counts as lost.

    Raises:
        ValueError: an unknown interface, more processes than GPUs, or several machines without interface.
        LostError: the others did not come, or nobody answers where rank 0 says it is.
    """
    seat = seat_of(os.environ)
    if seat.size == 1:
        return SingleProcess()
    if seat.spread and not interface and "GLOO_SOCKET_IFNAME" not in os.environ:
        raise ValueError(f"rank {seat.rank}: {_bound_to_loopback()}")
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
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface or loopback_interface())
    if interface:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    try:
        if _has_a_store(os.environ):
            wait = timedelta(seconds=timeout)
            store, _, _ = next(iter(dist.rendezvous("env://", seat.rank, seat.size, timeout=wait)))
            store = _of_this_attempt(store, seat, timeout)
        elif seat.rank == 0:
            store = _open(meeting, seat, _address(interface), timeout)
        else:
            store = _find(meeting, seat, timeout)
        return Distributed(seat.rank, seat.size, store, place, timeout)
    except (LostError, RuntimeError) as error:  # torch.distributed's own are RuntimeErrors
        if LAUNCH in os.environ:
            raise
        raise LostError(f"{' '.join(str(error).split())} ({seat.how_to_be_alone()})") from error


def _has_a_store(environment: Mapping[str, str]) -> bool:
    """Tell whether the launcher keeps a store for its processes, as torchrun does: they need no meeting file."""
    return LAUNCH not in environment and {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys()


def _of_this_attempt(store: dist.Store, seat: Seat, timeout: float) -> dist.Store:
    """The part of torchrun's store that only the processes of this attempt use.

    The store outlives an attempt that failed, and with several machines no variable counts attempts for all of them
    (TORCHELASTIC_RESTART_COUNT is each agent's own). So rank 0 names the attempt, and knows who has answered to it.
    """
    own, deadline = uuid.uuid4().hex, time.monotonic() + timeout
    if seat.rank == 0:
        store.set("attempt", own)
        others = [f"{own}/{rank}" for rank in range(1, seat.size)]
        store.wait(others, timedelta(seconds=timeout))
        store.set(f"{own}/all", json.dumps([store.get(key).decode() for key in others]))
        return dist.PrefixStore(own, store)
    attempt = ""
    while time.monotonic() < deadline:
        if store.check(["attempt"]) and (named := store.get("attempt").decode()) != attempt:
            attempt = named
            store.set(f"{attempt}/{seat.rank}", own)
        if attempt and store.check([f"{attempt}/all"]) and own in json.loads(store.get(f"{attempt}/all")):
            return dist.PrefixStore(attempt, store)
        time.sleep(0.05)
    raise LostError(f"rank {seat.rank}: rank 0 did not come within {timeout:g} s")


def _bound_to_loopback() -> str:
    here = [name for _, name in socket.if_nameindex() if not name.startswith("lo")]
    return (
        "the processes are on several machines, but bound to loopback: give --interface"
        f" (here: {', '.join(here) or 'none but loopback'})"
    )


def loopback_interface() -> str:
    """Return the name of this machine's loopback interface: lo on Linux, lo0 on macOS and the BSDs."""
    there = {name for _, name in socket.if_nameindex()}
    return "lo0" if "lo0" in there and "lo" not in there else "lo"


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
    found = {"launch": seat.launch, "size": seat.size, "machine": socket.gethostname()}
    write_json(meeting, found | {"address": address, "port": port, "key": key})
    return store


def call_off(meeting: Path, seat: Seat, reason: str) -> None:
    """Tell the other processes, which look for rank 0's address in the meeting file, that it does not come.

    They could not know a launch without a name from another. A file that is there belongs to a run that is beginning.
    """
    if seat.size > 1 and seat.launch and not _has_a_store(os.environ) and not meeting.exists():
        write_json(meeting, {"launch": seat.launch, "size": seat.size, "called_off": reason})


def _find(meeting: Path, seat: Seat, timeout: float) -> dist.Store:
    began, warned, nobody = time.monotonic(), False, f"rank 0 wrote no {meeting}"
    while time.monotonic() < began + START_SECONDS:
        if meeting.is_file():
            found = read_json(meeting)
            if found["launch"] == seat.launch and found["size"] == seat.size:
                if "called_off" in found:
                    raise ValueError(f"rank {seat.rank}: {found['called_off']}")
                nobody = f"nobody answers at {found['address']}:{found['port']}, as {meeting} says"
                if found["address"] == LOOPBACK and found.get("machine", socket.gethostname()) != socket.gethostname():
                    nobody = f"rank 0 is on {found['machine']}; {_bound_to_loopback()}"
                    if seat.launch:  # else the file may be of an earlier launch
                        raise ValueError(f"rank {seat.rank}: {nobody}")
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
        if not warned and time.monotonic() > began + WARN_SECONDS:
            warned = True
            logger.warning("rank %d waits for rank 0: %s; %s", seat.rank, nobody, seat.how_to_be_alone())
        time.sleep(0.05)
    raise LostError(f"rank {seat.rank}: {nobody} within {START_SECONDS:g} s")


def launch(arguments: Sequence[str], processes: int, timeout: float, fault_tolerant: bool = False) -> int:
    """Run `asr-parallel ARGUMENTS` in several processes of this machine and wait for all.

    When one fails, the others have `timeout` seconds and a little more to find out by themselves; if they are to
    survive it, as long as rank 0 needs. When this process is told to end, it ends them; when it is killed, they end.

    Returns:
        0, or the exit status of the process that failed first; rank 0's, where the others may fail.

    Raises:
        Interrupted: by a signal, of which rank 0 has said what there is to say.
    """
    name = uuid.uuid4().hex
    running: dict[int, subprocess.Popen[bytes]] = {}
    status, deadline = 0, float("inf")
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank),
                   "LOCAL_WORLD_SIZE": str(processes), LAUNCH: name, PARENT: str(os.getpid())}  # fmt: skip
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
                if process.returncode and not status and (rank == 0 or not fault_tolerant):
                    status, deadline = process.returncode, time.monotonic() + timeout + 10
            if time.monotonic() > deadline:
                break
    except Interrupted as interruption:
        _end(running.values())
        if 0 in running and running[0].returncode > 0:
            raise Interrupted(interruption.number, "") from None
        raise
    finally:
        _end(running.values())
    return status if status >= 0 else 128 - status


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Have processes end, with time to put things in order."""
    with signals_ignored():
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
