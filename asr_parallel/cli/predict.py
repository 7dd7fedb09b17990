"""asr-parallel predict: modelled speedup of every algorithm, before anybody has the machines."""

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from asr_parallel.cli.options import add_choice, add_number
from asr_parallel.cli.train_mono import check_positive

if TYPE_CHECKING:
    from asr_parallel.nnet.spec import NetworkSpec
    from asr_parallel.parallel.cost import StepCost
    from asr_parallel.parallel.options import WorkerOptions

FRAMES = 108_000_000  # 300 hours, the training data of Switchboard-1
INPUT_DIM, PDFS = 440, 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.clock.interconnect import COLLECTIVES, PRESETS
    from asr_parallel.nnet.hidden_layer import NONLINEARITIES
    from asr_parallel.nnet.optimizers import OPTIMIZERS
    from asr_parallel.nnet.precision import PRECISIONS
    from asr_parallel.parallel.options import algorithm_flags
    from asr_parallel.parallel.registry import names
    from asr_parallel.record.options import add_arguments as add_option_arguments
    from asr_parallel.training.options import TrainingOptions

    default = TrainingOptions()
    number, choice = partial(add_number, default), partial(add_choice, default)

    workers = parser.add_argument_group("workers")
    workers.add_argument("--workers", required=True, metavar="K,K,...", help="numbers of workers")
    workers.add_argument("--algorithm", choices=names(), action="append", help="may be repeated (default: all)")
    workers.add_argument(
        "--overlap",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="train on meanwhile, where that is possible",
    )
    jitter = (
        "deviation of a minibatch's time over its mean; everybody waits for the slowest (default: as measured, or 0)"
    )
    workers.add_argument("--jitter", type=float, metavar="X", help=jitter)
    frames = f"of an epoch, over all workers (default: {FRAMES}, 300 hours)"
    workers.add_argument("--frames", type=int, default=FRAMES, metavar="N", help=frames)

    add_option_arguments(parser, algorithm_flags())

    network = parser.add_argument_group("network between them; docs/clock.md has the sources")
    network.add_argument("--network", choices=tuple(PRESETS), default="ib100", help="default: ib100")
    network.add_argument("--alpha", type=float, metavar="SECONDS", help="of a message, instead")
    network.add_argument("--beta", type=float, metavar="BYTES", help="a second, instead")
    how = ("best", *COLLECTIVES)
    network.add_argument("--collective", choices=how, default="best", help="how sums are formed (default: best)")

    model = parser.add_argument_group("network of each, timed on this machine unless --step-seconds is given")
    model.add_argument("--step-seconds", type=float, metavar="X", help="of a minibatch; nothing is measured")
    number(model, "hidden_layers", "hidden layers")
    number(model, "hidden_dim", "units of a hidden layer")
    choice(model, "nonlinearity", NONLINEARITIES, "of the hidden layers")
    model.add_argument("--input-dim", type=int, default=INPUT_DIM, metavar="N", help=f"default: {INPUT_DIM}")
    model.add_argument("--pdfs", type=int, default=PDFS, metavar="N", help=f"outputs (default: {PDFS})")
    number(model, "minibatch", "frames")
    choice(model, "optimizer", OPTIMIZERS, "ng-sgd is Kaldi's natural gradient")
    choice(model, "precision", PRECISIONS, "of products; auto: bf16 where the GPU or CPU has it in hardware")
    choice(model, "device", ("auto", "cpu", "cuda"), "auto: a GPU if there is one")
    model.add_argument("--threads", type=int, default=1, metavar="N", help="of a worker (default: 1)")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.clock.interconnect import PRESETS
    from asr_parallel.clock.modelled_clock import ModelledClock
    from asr_parallel.clock.stragglers import Stragglers
    from asr_parallel.nnet.architectures.dnn import dnn
    from asr_parallel.parallel.registry import entries
    from asr_parallel.report.prediction import prediction_markdown

    check_positive(args, "minibatch", "frames", "threads")
    workers = _numbers(args.workers)
    names = list(dict.fromkeys(args.algorithm or [one.name for one in entries() if one.communicates]))
    network = PRESETS[args.network]
    if args.alpha is not None or args.beta is not None:
        network = replace(
            network,
            name="a network of your own",
            alpha=network.alpha if args.alpha is None else args.alpha,
            beta=network.beta if args.beta is None else args.beta,
            source=f"given; the rest as {args.network}",
        )
    options_of_each = [_worker_options(args, name) for name in names]
    spec = dnn(args.input_dim, 0, args.hidden_layers, args.hidden_dim, args.pdfs, args.nonlinearity)
    works, jitter, measured = _works(args, spec, [options for options, _ in options_of_each])
    stragglers = Stragglers(jitter if args.jitter is None else args.jitter)
    clocks = [
        ModelledClock(options, work, network, args.frames, stragglers, args.collective, constants=constants)
        for (options, constants), work in zip(options_of_each, works, strict=True)
    ]
    print(prediction_markdown(clocks, workers, measured), end="")


def _worker_options(args: argparse.Namespace, name: str) -> "tuple[WorkerOptions, Any]":
    """Return the options under an algorithm; where all algorithms are asked for, without those it has no use for."""
    from asr_parallel.parallel.options import option_names, split
    from asr_parallel.parallel.registry import entry

    chosen = entry(name)
    known = option_names() if args.algorithm else chosen.own_options | chosen.cls.supports
    given = {option: value for option, value in vars(args).items() if option in known}
    return split(**given | {"workers": 1, "algorithm": name})


def _works(
    args: argparse.Namespace, spec: "NetworkSpec", options_of_each: list["WorkerOptions"]
) -> tuple[list["StepCost"], float, str]:
    """Return what a worker has to do under each algorithm, the jitter of its minibatches, and how that is known."""
    from asr_parallel.clock.step_time import measure_step, measure_sync, work_of

    if args.step_seconds is not None:
        work = work_of(spec, args.minibatch, args.optimizer, args.step_seconds)
        how = "given; a third of it to label one, nothing for a worker's part of a synchronization"
        return [work] * len(options_of_each), 0.0, how
    import torch

    from asr_parallel.nnet.precision import choose_device, choose_dtype
    from asr_parallel.parallel.registry import entry

    torch.set_num_threads(args.threads)
    place = choose_device(args.device)
    step = measure_step(spec, args.minibatch, args.optimizer, args.precision, args.device)
    works = []
    for options in options_of_each:
        cls, sync = entry(options.algorithm).cls, 0.0
        if cls.exchanges_models and cls.uses_means:
            sync = measure_sync(spec, options, args.minibatch, args.optimizer, args.precision, args.device)
        works.append(work_of(spec, args.minibatch, args.optimizer, step, sync))
    kind = str(choose_dtype(args.precision, place)).removeprefix("torch.")
    threads = "" if place.type == "cuda" else f", {args.threads} thread(s)"
    return works, step.jitter, f"measured here, {args.optimizer}, {kind} on {place.type}{threads}"


def _numbers(text: str) -> list[int]:
    """Return whole numbers from 1 on, in their order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--workers {text}: expected whole numbers of at least 1, with commas between")
    return list(dict.fromkeys(int(part) for part in parts))
