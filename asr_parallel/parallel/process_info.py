"""This process among those of a run, from the variables that its launcher sets; and a launch on this machine.

Launched by        rank and size from                                          found through
nobody             -                                                           -
--processes P      RANK, WORLD_SIZE, set by `launch` below                     the rendezvous file
torchrun           RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT                  torchrun's store, of one attempt
mpirun, Open MPI   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE                  the rendezvous file
mpirun, MPICH      PMI_RANK, PMI_SIZE                                          the rendezvous file
srun               SLURM_PROCID, SLURM_STEP_NUM_TASKS, in a numbered step         the rendezvous file
"""

import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asr_parallel.record.child_processes import PARENT, STOP_SECONDS
from asr_parallel.record.interrupt import Interrupted, signals_ignored

LAUNCH = "ASR_PARALLEL_LAUNCH"  # environment variable: the name of a launch by --processes

# Environment variables: rank, size, rank on its machine, processes there, name of the launch; the first set that is
# there counts. Of Slurm the nodes, SLURM_STEP_NUM_NODES, are read, among which it spreads processes evenly.
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
class ProcessInfo:
    """A process's place in a run.

    launch: a name that no other launch has, "" when the launcher gives none.
    local_size: how many of them are on this machine; all of them where the launcher does not say.
    spread: the launcher says that the processes are on several machines.
    variables: names of the two that rank and size are from.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launch: str = ""
    spread: bool = False
    local_size: int = field(default=1, compare=False)
    variables: tuple[str, ...] = field(default=(), compare=False)

    def how_to_run_alone(self) -> str:
        """Say why this process looks for others, for a user who did not ask for that."""
        rank, size = self.variables
        return (
            f"{rank}={self.rank} and {size}={self.size} say that this process is one of {self.size};"
            f" to run it alone: env -u {rank} -u {size} asr-parallel ..."
        )

    def check_workers(self, workers: int) -> None:
        """Raise ValueError when there are fewer workers than processes."""
        if workers < self.size:
            why = f"; {self.how_to_run_alone()}" if self.variables else ""
            raise ValueError(f"{workers} workers in {self.size} processes: expected at least one each{why}")


def process_info(environment: Mapping[str, str]) -> ProcessInfo:
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
        total = int(found[1])
        local_size = int(there) if there.isdecimal() and int(there) else total
        spread = local_size < total
        nodes = environment.get("SLURM_STEP_NUM_NODES", "1")
        if launcher in ("MPICH", "Slurm") and not there:
            spread = nodes != "1"
            local_size = math.ceil(total / int(nodes)) if nodes.isdecimal() and int(nodes) else total
        return ProcessInfo(int(found[0]), total, int(found[2]), launch, spread, local_size, (rank, size))
    return ProcessInfo()


def launch(arguments: Sequence[str], processes: int, timeout: float, fault_tolerant: bool = False) -> int:
    """Run `asr-parallel ARGUMENTS` in several processes of this machine and wait for all.

    When one fails, the others have `timeout` seconds and a little more to find out by themselves; in a
    fault-tolerant run, as long as rank 0 needs. When this process is asked to end, it ends them; when it is killed,
    they end.

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
    """Terminate processes, with time to clean up."""
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
