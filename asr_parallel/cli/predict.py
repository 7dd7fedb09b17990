"""asr-parallel predict: modelled speedup of every algorithm, before anybody has the machines."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_parallel.clock.interconnect import COLLECTIVES, PRESETS, Interconnect
from asr_parallel.nnet.architectures import ARCHITECTURES
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.record.options import Checked, build, build_chosen, check, merged, option, picked

if TYPE_CHECKING:
    from asr_parallel.nnet.spec import NetworkSpec
    from asr_parallel.parallel.cost import StepCost
    from asr_parallel.parallel.worker_options import WorkerOptions
    from asr_parallel.training.option_groups import MachineOptions
    from asr_parallel.training.train_options import TrainingOptions

# Options of asynchronous training that predict has others for
SIMULATED = {
    "sim_step_seconds": "--step-seconds", "sim_jitter": "--jitter", "sim_latency": "--alpha", "sim_bandwidth": "--beta",
}  # fmt: skip
RATES = ("schedule", "learning_rate", "final_learning_rate", "epochs")  # options that matter with qsr_alpha alone
FRAMES = 108_000_000  # 300 hours, the training data of Switchboard-1


@dataclass(frozen=True)
class PredictOptions:
    """A worker's network, timed on this machine unless --step-seconds is given."""

    step_seconds: float | None = option(None, "of a minibatch; nothing is measured", above=0)
    architecture: str = option("dnn", "kind of network", choices=ARCHITECTURES)
    input_dim: int = option(440, "inputs of the network: features times frames of a window", least=1)
    context: int = option(0, "frames on either side in a window; a tdnn needs as many as it sees", least=0)
    pdfs: int = option(2000, "outputs", least=1)
    minibatch: int = option(512, "frames", least=1, source="Kaldi steps/nnet3/train_dnn.py")
    optimizer: str = option("ng-sgd", "ng-sgd is Kaldi's natural gradient", choices=OPTIMIZERS)
    threads: int = option(1, "of a worker", least=1)
    frames: int = option(FRAMES, "of an epoch, over all workers; 300 hours, Switchboard-1", least=1)
    jitter: float | None = option(
        None, "deviation of a minibatch's time over its mean; everybody waits for the slowest", least=0,
        unset="as measured, or 0",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
        if self.input_dim % (2 * self.context + 1):
            frames = 2 * self.context + 1
            raise ValueError(f"input_dim {self.input_dim}: expected a multiple of {frames}, the frames of a window")


@dataclass(frozen=True)
class InterconnectOptions(Checked):
    """Network between workers; docs/clock.md has the sources."""

    network: str = option("ib100", "known networks", choices=tuple(PRESETS))
    network_file: str | None = option(
        None, "network that measure-network has measured, in place of a known one", metavar="FILE", path=True
    )
    alpha: float | None = option(None, "latency of a message", least=0, metavar="SECONDS", unset="the network's")
    beta: float | None = option(None, "bandwidth a second", above=0, metavar="BYTES", unset="the network's")
    collective: str = option("best", "how sums are formed", choices=("best", *COLLECTIVES))

    def network_to_model(self) -> Interconnect:
        """Return the network, with the latency and bandwidth that were given."""
        from asr_parallel.clock.measure_network import read_network

        known = PRESETS[self.network] if self.network_file is None else read_network(Path(self.network_file))
        if self.alpha is None and self.beta is None:
            return known
        alpha = known.alpha if self.alpha is None else self.alpha
        beta = known.beta if self.beta is None else self.beta
        source = f"given; the rest as {known.name}"
        return replace(known, name="a network of your own", alpha=alpha, beta=beta, source=source)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.parallel.worker_options import WorkerOptions, algorithm_flags
    from asr_parallel.training.option_groups import MachineOptions, ScheduleOptions
    from asr_parallel.training.train_options import alternatives

    wanted = {WorkerOptions: ("sync_first", "qsr_alpha"), ScheduleOptions: RATES}
    rates = picked("Periods that change during the training", wanted)
    sizes = merged("Options of architectures", alternatives()["architecture"])
    return InterconnectOptions, PredictOptions, sizes, MachineOptions, algorithm_flags(), rates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    from asr_parallel.parallel.registry import names

    workers = parser.add_argument_group("workers")
    workers.add_argument("--workers", required=True, metavar="K,K,...", help="numbers of workers")
    workers.add_argument("--algorithm", choices=names(), action="append", help="may be repeated (default: all)")
    overlap = "train on while models are sent, where that is possible"
    workers.add_argument("--overlap", action=argparse.BooleanOptionalAction, default=False, help=overlap)


def run(args: argparse.Namespace) -> None:
    from asr_parallel.parallel.registry import entries
    from asr_parallel.training.option_groups import MachineOptions
    from asr_parallel.training.train_options import alternatives

    workers, given = _numbers(args.workers), vars(args)
    options, machine = build(PredictOptions, given), build(MachineOptions, given)
    names = list(dict.fromkeys(args.algorithm or [one.name for one in entries() if one.communicates]))
    interconnect = build(InterconnectOptions, given)
    options_of_each = [_worker_options(args, name) for name in names]
    kind, frame_dim = options.architecture, options.input_dim // (2 * options.context + 1)
    sizes = asdict(build_chosen("architecture", kind, alternatives()["architecture"], given))

    from asr_parallel.clock.modelled_clock import ModelledClock  # with torch: later than options are refused
    from asr_parallel.clock.stragglers import Stragglers
    from asr_parallel.nnet.architectures import make_network
    from asr_parallel.report.prediction import prediction_markdown

    trainings = [_training(own, given, options, sizes) for own, _ in options_of_each]
    spec = make_network(kind, sizes, frame_dim, options.context, options.pdfs)
    works, jitter, measured = _works(options, machine, spec, [own for own, _ in options_of_each])
    network, stragglers = (
        interconnect.network_to_model(),
        Stragglers(jitter if options.jitter is None else options.jitter),
    )
    clocks = [
        ModelledClock(
            own,
            work,
            network,
            options.frames,
            stragglers,
            interconnect.collective,
            constants=constants,
            epochs=training.schedule.epochs,
            rates=training.rates,
        )
        for (own, constants), work, training in zip(options_of_each, works, trainings, strict=True)
    ]
    print(prediction_markdown(clocks, workers, measured), end="")


def _worker_options(args: argparse.Namespace, name: str) -> "tuple[WorkerOptions, Any]":
    """Return the options under an algorithm; where all algorithms are asked for, without those it has no use for."""
    from asr_parallel.parallel.registry import entry
    from asr_parallel.parallel.worker_options import option_names, split

    for simulated, flag in SIMULATED.items():
        if hasattr(args, simulated):
            raise ValueError(f"{simulated} {getattr(args, simulated)}: is for training; expected {flag}")
    chosen = entry(name)
    known = option_names() if args.algorithm else chosen.own_options | chosen.cls.supports
    given = {option: value for option, value in vars(args).items() if option in known}
    return split(**given | {"workers": 1, "algorithm": name})


def _training(
    own: "WorkerOptions", given: Mapping[str, Any], options: PredictOptions, sizes: Mapping[str, Any]
) -> "TrainingOptions":
    """Return the options of a training, for its learning rates; ValueError where they decide nothing.

    Args:
        given: values of the command line.
        sizes: of the architecture.
    """
    from asr_parallel.training.train_options import training_options

    rates = {name: given[name] for name in RATES if name in given}
    if rates and "qsr_alpha" not in given:
        name, value = next(iter(rates.items()))
        raise ValueError(f"{name} {value}: changes no time without qsr_alpha")
    common = {name: getattr(options, name) for name in ("architecture", "optimizer", "minibatch")}
    return training_options(algorithm=own.algorithm, qsr_alpha=own.qsr_alpha, **common, **sizes, **rates)


def _works(
    options: PredictOptions, machine: "MachineOptions", spec: "NetworkSpec", options_of_each: list["WorkerOptions"]
) -> tuple[list["StepCost"], float, str]:
    """Return what a worker has to do under each algorithm, the jitter of its minibatches, and how that is known."""
    from asr_parallel.clock.step_time import measure_step, measure_sync, work_of

    if options.step_seconds is not None:
        work = work_of(spec, options.minibatch, options.optimizer, options.step_seconds)
        how = "given; a third of it to label one, nothing for a worker's part of a synchronization"
        return [work] * len(options_of_each), 0.0, how
    import torch

    from asr_parallel.nnet.precision import choose_device, choose_dtype
    from asr_parallel.parallel.registry import entry

    torch.set_num_threads(options.threads)
    place = choose_device(machine.device)
    step = measure_step(spec, options.minibatch, options.optimizer, machine.precision, machine.device)
    works = []
    for own in options_of_each:
        cls, sync = entry(own.algorithm).cls, 0.0
        if cls.exchanges_models and cls.uses_means:
            sync = measure_sync(spec, own, options.minibatch, options.optimizer, machine.precision, machine.device)
        works.append(work_of(spec, options.minibatch, options.optimizer, step, sync))
    kind = str(choose_dtype(machine.precision, place)).removeprefix("torch.")
    threads = "" if place.type == "cuda" else f", {options.threads} thread(s)"
    return works, step.jitter, f"measured here, {options.optimizer}, {kind} on {place.type}{threads}"


def _numbers(text: str) -> list[int]:
    """Return whole numbers from 1 on, in their order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--workers {text}: expected whole numbers of at least 1, with commas between")
    return list(dict.fromkeys(int(part) for part in parts))
