"""asr-parallel train-dnn: stage 6, a network trained on a frame store."""

import argparse
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_parallel.cli.distributed import ProcessOptions, RunOptions, joined, launched, served
from asr_parallel.record.options import build, flat

if TYPE_CHECKING:
    from asr_parallel.parallel.group_stage import Broadcasting
    from asr_parallel.training.train_options import TrainingOptions


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.training.train_options import flag_groups

    return *flag_groups(), RunOptions, ProcessOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    files = parser.add_argument_group("files")
    files.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    files.add_argument("--out", type=Path, required=True, help="folder of the network; OUT.training until it is done")
    files.add_argument("--rbm", type=Path, help="folder of stage 5, for --pretrain rbm")


def read_options(given: Mapping[str, Any]) -> "TrainingOptions":
    """Return the options of a training, checked; ValueError where they do not fit together."""
    from asr_parallel.training import train_options

    return train_options.read_options(given)


def run(args: argparse.Namespace) -> None:
    """Train, in as many processes as there are."""
    from asr_parallel.parallel.process_info import process_info
    from asr_parallel.parallel.registry import entry

    given = vars(args)
    options = read_options(given)
    running, processes = build(RunOptions, given), build(ProcessOptions, given)
    workers = options.workers
    asynchronous = entry(workers.algorithm).cls.asynchronous
    if asynchronous:
        options.algorithm.check_processes(max(processes.processes, process_info(os.environ).size))
    if launched(args, processes, workers.workers, workers.fault_tolerant or asynchronous):
        return

    from asr_parallel.parallel.group_stage import together  # with torch: later than options are refused
    from asr_parallel.record.stage import run_stage
    from asr_parallel.training.checkpoint import remove_work
    from asr_parallel.training.run_training import train_into, working_path
    from asr_parallel.training.train_options import config_identity, path_names

    inputs = {"frames": args.frames}
    if args.rbm is not None:
        inputs |= {
            f"rbm {k}": args.rbm / str(k) for k in range(1, getattr(options.architecture, "hidden_layers", 0) + 1)
        }
    inputs |= {name: Path(path) for name in path_names() if (path := flat(options)[name]) is not None}
    work = working_path(args.out)
    rows, units = options.optimization.minibatch, options.architecture.hidden_dim

    with ExitStack() as held:
        run = transport = None
        board: Broadcasting
        if asynchronous and process_info(os.environ).size > 1:
            board = run = held.enter_context(
                served(processes, args.out, workers.workers, rows, units, options.machine.device)
            )
        else:
            board = transport = held.enter_context(
                joined(processes, args.out, workers.workers, rows, units, options.machine.device)
            )

        def build_network(folder: Path | None) -> None:
            train_into(
                folder, work, args.frames, options, running.resume, running.report_frames, running.checkpoint_frames,
                running.evaluate_frames, args.rbm, transport, run,
            )  # fmt: skip

        def stage(build: Callable[[Path], None]) -> None:
            identity = config_identity(options)
            run_stage(args.out, build, number=6, inputs=inputs, options=identity, finish=lambda: remove_work(work))

        together(board, stage, build_network)
