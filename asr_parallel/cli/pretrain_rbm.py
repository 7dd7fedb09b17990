"""asr-parallel pretrain-rbm: stage 5, a stack of RBMs on a frame store."""

import argparse
from dataclasses import fields
from pathlib import Path

from asr_parallel.cli.train_mono import check_positive
from asr_parallel.record.environment import cpu_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.training.pretrain import PretrainOptions

    default = PretrainOptions()
    parser.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    parser.add_argument("--out", type=Path, required=True, help="folder of the stack, a folder a layer in it")
    bug = "apply the final momentum from the second minibatch on, as Kaldi does"
    for field in fields(PretrainOptions):
        value, flag = getattr(default, field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value, help=bug)
        else:
            parser.add_argument(flag, type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=cpu_count(), metavar="N", help="default: %(default)s")
    for name, frames in (("report", 50_000), ("checkpoint", 1_000_000)):
        flag = f"--{name}-frames"
        parser.add_argument(flag, type=int, default=frames, metavar="N", help=f"between {name}s (default: {frames})")


def run(args: argparse.Namespace) -> None:
    import torch

    from asr_parallel.training.pretrain import PretrainOptions
    from asr_parallel.training.pretrain_run import pretrain

    check_positive(args, "threads", "report_frames", "checkpoint_frames")
    torch.set_num_threads(args.threads)
    options = PretrainOptions(**{field.name: getattr(args, field.name) for field in fields(PretrainOptions)})
    pretrain(args.frames, args.out, options, args.report_frames, args.checkpoint_frames)
