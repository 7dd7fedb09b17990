"""This process among those of a run, from the variables that its launcher sets.

Launched by        rank and size from                                          found through
nobody             -                                                           -
--processes P      RANK, WORLD_SIZE, set by `launch` below                     the rendezvous file
torchrun           RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT                  torchrun's store, of one attempt
mpirun, Open MPI   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE                  the rendezvous file
mpirun, MPICH      PMI_RANK, PMI_SIZE                                          the rendezvous file
srun               SLURM_PROCID, SLURM_STEP_NUM_TASKS, in a numbered step         the rendezvous file
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

LAUNCH = "ASR_PARALLEL_LAUNCH"  # environment variable: the name of a launch by --processes

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
class ProcessInfo:
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
        spread = there.isdecimal() and int(there) < int(found[1])
        if launcher in ("MPICH", "Slurm") and not there:
            spread = environment.get("SLURM_STEP_NUM_NODES", "1") != "1"
        return ProcessInfo(int(found[0]), int(found[1]), int(found[2]), launch, spread, (rank, size))
    return ProcessInfo()
