"""asr-parallel train-dnn: stage 6, a network on a frame store."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from asr_parallel.cli.distributed import add_arguments as add_process_arguments
from asr_parallel.cli.distributed import joined, launched
from asr_parallel.cli.options import add_choice, add_number
from asr_parallel.cli.train_mono import check_positive
from asr_parallel.cli.workers import add_arguments as add_worker_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.nnet.optimizers import OPTIMIZERS
    from asr_parallel.nnet.outputs import AVERAGES
    from asr_parallel.nnet.precision import PRECISIONS
    from asr_parallel.nnet.spec import NONLINEARITIES
    from asr_parallel.training.options import INITIALS, PRETRAININGS, PRIORS, SCHEDULES, TrainingOptions
    from asr_parallel.training.trainer import CHECKPOINT_FRAMES, REPORT_FRAMES

    default = TrainingOptions()
    number, choice = partial(add_number, default), partial(add_choice, default)

    files = parser.add_argument_group("files")
    files.add_argument("--frames", type=Path, required=True, help="frame store of stage 4")
    files.add_argument("--out", type=Path, required=True, help="folder of the network; OUT.training until it is done")

    network = parser.add_argument_group("network")
    number(network, "hidden_layers", "hidden layers")
    number(network, "hidden_dim", "units of a hidden layer")
    choice(network, "nonlinearity", NONLINEARITIES, "of the hidden layers")
    number(network, "pnorm_group", "inputs of a p-norm unit")

    choice(network, "initial", INITIALS, "own: workers start from different random numbers")
    choice(network, "pretrain", PRETRAININGS, "rbm: begin as the sigmoid layers of --rbm")
    network.add_argument("--rbm", type=Path, help="folder of stage 5, for --pretrain rbm")

    how = parser.add_argument_group("optimiser; gradients are summed over frames, so learning rates are per frame")
    choice(how, "optimizer", OPTIMIZERS, "ng-sgd is Kaldi's natural gradient")
    number(how, "momentum", "of --optimizer momentum and nesterov", float)
    number(how, "minibatch", "frames")
    number(how, "max_change", "longest step of a hidden layer in a minibatch, by any optimizer; 0: no limit", float)
    number(how, "max_change_output", "the same of the output layer", float)
    number(how, "max_param_change", "the same of all layers together", float)

    resolved_schedule = parser.add_argument_group("schedule")
    resolved_schedule.add_argument(
        "--schedule", choices=SCHEDULES, help="of the learning rate (default: exponential; colearn: cyclical)"
    )
    number(resolved_schedule, "learning_rate", "at first, effective (default: by optimizer and nonlinearity)", float)
    number(resolved_schedule, "final_learning_rate", "exponential, cyclical (default: a tenth of the first)", float)
    number(resolved_schedule, "epochs", "passes over the data; newbob: at most")
    number(resolved_schedule, "halve_from", "newbob: halve from this epoch on at the latest")
    number(resolved_schedule, "cycle_frames", "cyclical: frames of a cycle (default: an epoch; colearn: a round)")

    add_worker_arguments(parser, default)

    data = parser.add_argument_group("data")
    number(data, "held_out", "share held out for cross-validation", float)
    choice(data, "held_out_by", ("utterance", "speaker"), "what is held out whole")
    number(data, "channel_tilt", "random slope of the spectrum, deviation", float)
    number(data, "channel_ripple", "random change of each filter, deviation", float)
    number(data, "mask_filters", "widest random band set to zero, in filters")
    number(data, "seed", "of everything random, but not of what is held out")

    soft = parser.add_argument_group("soft labels: a second loss, of algorithm ensemble or against a teacher")
    soft.add_argument("--teacher", metavar="DIR", help="network or ensemble whose posteriors are learnt too")
    soft.add_argument("--start", metavar="DIR", help="network to start from, of the same shape")
    number(soft, "pseudo_weight", "lambda, of that loss", float)
    number(soft, "temperature", "of the posteriors on both sides", float)

    end = parser.add_argument_group("final model")
    last = "average up to so many of the last models, as many as do best on held-out data (default: 20; ensemble: 0)"
    number(end, "combine", last)
    kept = "OUT/ensemble: every worker's model, and all as one (default: with --algorithm ensemble)"
    end.add_argument("--keep-workers", action=argparse.BooleanOptionalAction, help=kept)
    choice(end, "ensemble_average", AVERAGES, "of the workers' outputs")
    choice(end, "prior", PRIORS, "from the alignments' counts or the model's mean posterior")

    machine = parser.add_argument_group("machine")
    choice(machine, "precision", PRECISIONS, "of products; auto: bf16 where the GPU or CPU has it in hardware")
    choice(machine, "device", ("auto", "cpu", "cuda"), "auto: a GPU if there is one")
    resume = "go on from a checkpoint: insist on one (rates may differ), or start anew (default: go on if there is one)"
    machine.add_argument("--resume", action=argparse.BooleanOptionalAction, help=resume)
    for name, frames in (("report", REPORT_FRAMES), ("checkpoint", CHECKPOINT_FRAMES)):
        flag = f"--{name}-frames"
        machine.add_argument(flag, type=int, default=frames, metavar="N", help=f"between {name}s (default: {frames})")
    evaluation = "between evaluations on held-out data (default: at the ends of epochs only)"
    machine.add_argument("--evaluate-frames", type=int, metavar="N", help=evaluation)
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from asr_parallel.parallel.group_stage import together
    from asr_parallel.record.stage import run_stage
    from asr_parallel.report.curves import plot_curves
    from asr_parallel.training.checkpoint import remove_work
    from asr_parallel.training.metrics_logger import LINES
    from asr_parallel.training.options import PATHS, TrainingOptions, config_identity
    from asr_parallel.training.run_training import train_into, working_path

    check_positive(args, "report_frames", "checkpoint_frames")
    check_positive(args, *(name for name in ("threads", "evaluate_frames") if getattr(args, name) is not None))
    options = TrainingOptions(**{field.name: getattr(args, field.name) for field in fields(TrainingOptions)})
    if launched(args):
        return
    inputs = {"frames": args.frames}
    if args.rbm is not None:
        inputs |= {f"rbm {k}": args.rbm / str(k) for k in range(1, options.hidden_layers + 1)}
    for name in PATHS:
        if getattr(args, name) is not None:
            inputs[name] = Path(getattr(args, name))
    work = working_path(args.out)

    with joined(args, args.out) as transport:

        def build(folder: Path | None) -> None:
            train_into(
                folder, work, args.frames, options, args.resume, args.report_frames, args.checkpoint_frames,
                args.evaluate_frames, args.rbm, transport,
            )  # fmt: skip
            if folder is not None:
                plot_curves(folder / LINES, folder / "curves.png")

        def stage(build: Callable[[Path], None]) -> None:
            run_stage(
                args.out,
                build,
                number=6,
                inputs=inputs,
                options=config_identity(options),
                finish=lambda: remove_work(work),
            )

        together(transport, stage, build)
