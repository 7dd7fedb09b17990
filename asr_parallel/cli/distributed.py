"""Options of verbs that several workers and processes do together."""

import argparse
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.record.lock import folder_to_make, locked
from asr_parallel.record.log import logger

if TYPE_CHECKING:
    from asr_parallel.parallel.transport import Transport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the machine: --threads, and how processes are started and find each other."""
    from asr_parallel.parallel.transport import TIMEOUT_SECONDS

    group = parser.add_argument_group("processes; torchrun, mpirun and srun start them too (docs/parallel.md)")
    group.add_argument("--processes", type=int, default=1, metavar="P", help="start P on this machine (default: 1)")
    threads = "of each process (default: OMP_NUM_THREADS, else 1 for a small network, else its share of the cores)"
    group.add_argument("--threads", type=int, metavar="N", help=threads)
    group.add_argument("--interface", help="network interface, for several machines (default: loopback, for one)")
    lost = f"until a process that does not answer counts as lost (default: {TIMEOUT_SECONDS:g})"
    group.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help=lost)


def launched(args: argparse.Namespace) -> bool:
    """Tell whether the verb is done, because the --processes asked for have been started and have ended.

    Raises:
        ValueError: options out of range.
        SystemExit: a process failed; with its status.
    """
    from asr_parallel.parallel.launch import LAUNCH, Seat, launch, seat_of

    folder_to_make(args.out)  # refuses the current folder, and the like
    if args.processes < 1 or not 0 < args.timeout < math.inf:
        raise ValueError(f"--processes {args.processes}, --timeout {args.timeout:g}: expected numbers above 0")
    if args.processes == 1 or LAUNCH in os.environ:
        return False
    seat = seat_of(os.environ)
    if seat.size > 1:
        raise ValueError(
            f"--processes {args.processes}: a launcher has started {seat.size} processes already;"
            f" {seat.how_to_be_alone()}"
        )
    Seat(size=args.processes).check_workers(args.workers)
    with _locked(args.out):  # a second run is refused by one line, and not by each of its processes
        pass
    status = launch(args.words, args.processes, args.timeout, getattr(args, "fault_tolerant", False))
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
def joined(args: argparse.Namespace, out: Path) -> Iterator["Transport"]:
    """Return this process's transport, to be closed in the end; rank 0 holds the lock of the unfinished result.

    Raises:
        ValueError: another run holds it.
        LostError: not all processes came.
    """
    import torch

    from asr_parallel.parallel.cores import default_threads
    from asr_parallel.parallel.launch import LAUNCH, call_off, join, seat_of
    from asr_parallel.record.child_processes import follow

    meeting = out.with_name(f"{out.name}.meeting")
    if seat_of(os.environ).rank:
        logger.setLevel(max(logger.level, logging.WARNING))
    seat = seat_of(os.environ)
    if seat.size > 1 and LAUNCH not in os.environ:  # else main follows already
        follow(os.getppid())  # torchrun, mpirun or srun's daemon here
    seat.check_workers(args.workers)  # before the others are waited for
    with ExitStack() as held:
        if seat.rank == 0:
            try:
                held.enter_context(_locked(out))
            except ValueError as error:
                call_off(meeting, seat, str(error))
                raise
            held.callback(_remove, meeting)  # what another launch has called off
        try:
            transport = join(meeting, args.device, args.interface, args.timeout)
        finally:  # all have come, or none will; processes of another run must not find it
            if seat.rank == 0 and seat.size > 1:
                meeting.unlink(missing_ok=True)
        try:
            rows = args.minibatch * math.ceil(args.workers / transport.size)
            threads = default_threads(transport, rows * args.hidden_dim**2)
            torch.set_num_threads(args.threads or threads)
            yield transport
        finally:
            transport.close()
