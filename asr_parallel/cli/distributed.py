"""Options of verbs that several workers and processes do together."""

import argparse
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.record.lock import locked, output_folder
from asr_parallel.record.log import logger
from asr_parallel.record.options import Checked, option

if TYPE_CHECKING:
    from asr_parallel.parallel.asynchronous.board import ServedRun
    from asr_parallel.parallel.process_info import ProcessInfo
    from asr_parallel.parallel.transport import Transport


@dataclass(frozen=True)
class RunOptions(Checked):
    """Running; the result does not depend on it."""

    resume: bool | None = option(
        None, "go on from a checkpoint: insist on one (rates may differ), or start anew", unset="go on if there is one"
    )
    report_frames: int = option(50_000, "between two reports", least=1)
    checkpoint_frames: int = option(1_000_000, "between two checkpoints", least=1)
    evaluate_frames: int | None = option(
        None, "between evaluations on held-out data", least=1, unset="at the ends of epochs only"
    )


@dataclass(frozen=True)
class ProcessOptions(Checked):
    """Processes; torchrun, mpirun and srun start them too (docs/parallel.md)."""

    processes: int = option(1, "start P on this machine", metavar="P", least=1)
    threads: int | None = option(
        None,
        "of each process",
        least=1,
        unset="OMP_NUM_THREADS, else 1 for a small network, else its share of the cores",
    )
    interface: str | None = option(None, "network interface, for several machines", unset="loopback, for one")
    timeout: float = option(
        60.0, "until a process that does not answer counts as lost", metavar="SECONDS", above=0,
        source="torchft's Manager",
    )  # fmt: skip


def launched(args: argparse.Namespace, options: ProcessOptions, workers: int, fault_tolerant: bool = False) -> bool:
    """Tell whether the verb is done, because the --processes asked for have been started and have ended.

    Raises:
        ValueError: options out of range.
        SystemExit: a process failed; with its status.
    """
    from asr_parallel.parallel.process_info import LAUNCH, ProcessInfo, launch, process_info

    output_folder(args.out)  # refuses the current folder, and the like
    if options.processes == 1 or LAUNCH in os.environ:
        return False
    info = process_info(os.environ)
    if info.size > 1:
        raise ValueError(
            f"--processes {options.processes}: a launcher has started {info.size} processes already;"
            f" {info.how_to_run_alone()}"
        )
    ProcessInfo(size=options.processes).check_workers(workers)
    with _locked(args.out):  # a second run is refused by one line, and not by each of its processes
        pass
    status = launch(args.words, options.processes, options.timeout, fault_tolerant)
    if status:
        sys.exit(status)
    return True


def _locked(out: Path) -> AbstractContextManager[None]:
    """Hold the lock of the unfinished result, of which rank 0 keeps the books."""
    return locked(out.with_name(f"{out.name}.training"))


def _remove(path: Path) -> None:
    if path.exists():  # else a read-only file system would refuse
        path.unlink()


@contextmanager
def served(
    options: ProcessOptions, out: Path, workers: int, minibatch: int, units: int, device: str
) -> Iterator["ServedRun"]:
    """Open this process's part in an asynchronous run of several processes.

    Rank 0 starts the server and holds the lock of the unfinished result. Nobody waits for the others to come.

    Args:
        minibatch, units: frames of a worker's minibatch and units of a hidden layer, for the number of threads.

    Raises:
        ValueError: another run holds the result, a server of this run is there, or the server refuses this process.
        LostError: no server came, or it was lost.
    """
    import torch

    from asr_parallel import __version__
    from asr_parallel.parallel.asynchronous.board import ServedRun
    from asr_parallel.parallel.asynchronous.client import Client
    from asr_parallel.parallel.asynchronous.run_file import (
        check_no_server,
        find_server,
        new_key,
        run_address,
        write_run_file,
    )  # fmt: skip
    from asr_parallel.parallel.asynchronous.server_process import server_process
    from asr_parallel.parallel.cores import threads_beside
    from asr_parallel.parallel.process_info import process_info
    from asr_parallel.parallel.rendezvous import call_off, take_device

    run_file = out.with_name(f"{out.name}.rendezvous")
    info = process_info(os.environ)
    _quiet_unless_main(info)
    info.check_workers(workers)
    take_device(info, device)
    rows = minibatch * math.ceil(workers / info.size)
    torch.set_num_threads(options.threads or threads_beside(info.local_size, rows * units**2))
    with ExitStack() as held:
        if info.rank:
            address, client = find_server(run_file, info, __version__, options.timeout)
        else:
            try:
                held.enter_context(_locked(out))
                check_no_server(run_file, __version__, options.timeout)
            except ValueError as error:
                call_off(run_file, info, str(error))
                raise
            address = held.enter_context(
                server_process(run_address(info, options.interface), new_key(), __version__, options.timeout)
            )
            held.callback(_remove, run_file)
            write_run_file(run_file, info, address)
            client = Client(address, 0, __version__, options.timeout)
        held.callback(client.close)
        run = ServedRun(info.rank, info.size, address, client, __version__, options.timeout)
        yield run
        run.finish()


def _quiet_unless_main(info: "ProcessInfo") -> None:
    """Log warnings alone in ranks other than 0, and end with the launcher."""
    from asr_parallel.parallel.process_info import LAUNCH
    from asr_parallel.record.child_processes import exit_with_process

    if info.rank:
        logger.setLevel(max(logger.level, logging.WARNING))
    if info.size > 1 and LAUNCH not in os.environ:  # else main follows already
        exit_with_process(os.getppid())  # torchrun, mpirun or srun's daemon here


@contextmanager
def joined(
    options: ProcessOptions, out: Path, workers: int, minibatch: int, units: int, device: str
) -> Iterator["Transport"]:
    """Open this process's transport; rank 0 holds the lock of the unfinished result.

    Args:
        minibatch, units: frames of a worker's minibatch and units of a hidden layer, for the number of threads.

    Raises:
        ValueError: another run holds it.
        LostError: not all processes came.
    """
    import torch

    from asr_parallel.parallel.cores import default_threads
    from asr_parallel.parallel.process_info import process_info
    from asr_parallel.parallel.rendezvous import call_off, join

    rendezvous_file = out.with_name(f"{out.name}.rendezvous")
    info = process_info(os.environ)
    _quiet_unless_main(info)
    info.check_workers(workers)  # before the others are waited for
    with ExitStack() as held:
        if info.rank == 0:
            try:
                held.enter_context(_locked(out))
            except ValueError as error:
                call_off(rendezvous_file, info, str(error))
                raise
            held.callback(_remove, rendezvous_file)  # what another launch has called off
        try:
            transport = join(rendezvous_file, device, options.interface, options.timeout)
        finally:  # all have come, or none will; processes of another run must not find it
            if info.rank == 0 and info.size > 1:
                rendezvous_file.unlink(missing_ok=True)
        try:
            rows = minibatch * math.ceil(workers / transport.size)
            threads = default_threads(transport, rows * units**2)
            torch.set_num_threads(options.threads or threads)
            yield transport
        finally:
            transport.close()
