"""asr-parallel pretrain-rbm: stage 5, a stack of RBMs on a frame store."""

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path

from asr_parallel.cli.distributed import add_arguments as add_process_arguments
from asr_parallel.cli.distributed import joined, launched
from asr_parallel.cli.options import add_choice, add_number
from asr_parallel.cli.train_mono import check_positive

REPORT_FRAMES, CHECKPOINT_FRAMES = 50_000, 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.nnet.precision import PRECISIONS
    from asr_parallel.pretraining.rbm_options import ALGORITHMS, PretrainOptions

    default = PretrainOptions()
    number, choice = partial(add_number, default), partial(add_choice, default)

    files = parser.add_argument_group("files")
    files.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    files.add_argument("--out", type=Path, required=True, help="folder of the stack, a folder a layer in it")

    stack = parser.add_argument_group("stack")
    number(stack, "layers", "RBMs; finished ones are kept, so more can come on top later")
    number(stack, "hidden_dim", "hidden units of each")

    how = parser.add_argument_group("contrastive divergence; rates are of the mean gradient of a minibatch, as Kaldi's")
    number(how, "epochs", "passes over the data; twice as many for the first layer, whose visible units are Gaussian")
    number(how, "rate_gaussian", "learning rate of the first layer, times 1 minus momentum", float)
    number(how, "rate_bernoulli", "of the others, likewise", float)
    number(how, "l2", "decay of the weights, times the rate", float)
    number(how, "momentum_min", "at first", float)
    number(how, "momentum_max", "after 20 million frames", float)
    bug = "apply momentum_max from the second minibatch on, as Kaldi does, while the rate follows the ramp"
    how.add_argument("--with-bug", action=argparse.BooleanOptionalAction, default=default.with_bug, help=bug)
    number(how, "minibatch", "frames")

    workers = parser.add_argument_group("workers; the result depends on their number, not on that of processes")
    number(workers, "workers", "models that train on a share of the data each")
    choice(workers, "algorithm", ALGORITHMS, "what they do to each other's models")
    number(workers, "period", "minibatches of a worker between two synchronizations (default: the algorithm's)")
    choice(workers, "share_by", ("utterance", "speaker"), "what a worker gets whole")

    data = parser.add_argument_group("data")
    number(data, "held_out", "share held out, for free energies", float)
    choice(data, "held_out_by", ("utterance", "speaker"), "what is held out whole")
    number(data, "seed", "of everything random, but not of what is held out")

    machine = parser.add_argument_group("machine")
    choice(machine, "precision", PRECISIONS, "of products; auto: bf16 where the GPU or CPU has it in hardware")
    choice(machine, "device", ("auto", "cpu", "cuda"), "auto: a GPU if there is one")
    resume = "go on from a checkpoint: insist on one (rates may differ), or start anew (default: go on if there is one)"
    machine.add_argument("--resume", action=argparse.BooleanOptionalAction, help=resume)
    for name, frames in (("report", REPORT_FRAMES), ("checkpoint", CHECKPOINT_FRAMES)):
        flag = f"--{name}-frames"
        machine.add_argument(flag, type=int, default=frames, metavar="N", help=f"between {name}s (default: {frames})")
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from asr_parallel.pretraining.rbm_options import PretrainOptions
    from asr_parallel.pretraining.run_pretraining import pretrain
    from asr_parallel.report.filters import plot_filters
    from asr_parallel.report.layers import plot_layers

    check_positive(args, "report_frames", "checkpoint_frames")
    if args.threads is not None:
        check_positive(args, "threads")
    options = PretrainOptions(**{field.name: getattr(args, field.name) for field in fields(PretrainOptions)})
    if launched(args):
        return
    with joined(args, args.out) as transport:
        pretrain(
            args.frames, args.out, options, args.report_frames, args.checkpoint_frames, transport, args.resume,
            plot_filters, plot_layers,
        )  # fmt: skip
