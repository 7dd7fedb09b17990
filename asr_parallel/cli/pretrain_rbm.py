"""asr-parallel pretrain-rbm: stage 5, a stack of RBMs on a frame store."""

import argparse
from pathlib import Path

from asr_parallel.cli.distributed import ProcessOptions, RunOptions, joined, launched
from asr_parallel.record.options import build


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.pretraining.rbm_options import PretrainOptions

    return PretrainOptions, RunOptions, ProcessOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    files = parser.add_argument_group("files")
    files.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    files.add_argument("--out", type=Path, required=True, help="folder of the stack, a folder a layer in it")


def run(args: argparse.Namespace) -> None:
    """Pretrain, in as many processes as there are."""
    from asr_parallel.pretraining.rbm_options import PretrainOptions

    given = vars(args)
    options, running, processes = build(PretrainOptions, given), build(RunOptions, given), build(ProcessOptions, given)
    if launched(args, processes, options.workers):
        return

    from asr_parallel.pretraining.run_pretraining import pretrain  # with torch: later than options are refused

    with joined(
        processes, args.out, options.workers, options.minibatch, options.hidden_dim, options.device
    ) as transport:
        pretrain(
            args.frames, args.out, options, running.report_frames, running.checkpoint_frames, transport, running.resume,
        )  # fmt: skip
