"""The trainings of a comparison on the modelled clock: minibatches timed here, a chosen interconnect."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.step_time import StepTime, measure_step, measure_sync, work_of
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.compare.matrix_training import Training
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.parallel.registry import entry
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger
from asr_parallel.record.threads import one_thread
from asr_parallel.training.shares import frames_of, parts_of
from asr_parallel.training.train_options import TrainingOptions

MEASURED = "step_times.json"
TURNS = 3


@dataclass(frozen=True)
class Machine:
    """K machines of one kind, one per worker.

    network: between any two of them. other_network: a second one, for the speedup to a target.
    frames: of the training data in an epoch.
    shape: dimensions of a frame, frames of context on either side, pdfs.
    steps: seconds of a minibatch, by `step_name`.
    syncs: seconds of computation in a synchronization, by `sync_name`.
    longest: by training, the largest worker's share over the mean of all.
    """

    network: Interconnect
    frames: int
    shape: tuple[int, int, int]
    steps: Mapping[str, StepTime]
    syncs: Mapping[str, float]
    longest: Mapping[str, float]
    other_network: Interconnect | None = None

    def clock(self, training: Training, network: Interconnect | None = None) -> ModelledClock:
        """Return the modelled clock of a training. network: in place of the machine's own."""
        options = training.training_options
        step = self.steps[step_name(options, self.shape)]
        sync = self.syncs.get(sync_name(options, self.shape), 0.0)
        work = work_of(
            options.network_spec(*self.shape),
            options.optimization.minibatch,
            options.optimization.optimizer,
            step,
            sync,
        )
        stragglers = Stragglers(step.jitter)
        longest = self.longest[training.name]
        return ModelledClock(
            options.workers, work, network or self.network, self.frames, stragglers, longest=longest,
            constants=options.algorithm, epochs=options.schedule.epochs, rates=options.rates,
        )  # fmt: skip

    def here(self, training: Training) -> float:
        """Return the seconds of a training with all workers in one process, without evaluations.

        Frames that all workers label are labelled once there, not by each worker. Where the number of workers grows,
        all of their models are computed from the beginning.
        """
        options, clock = training.training_options, self.clock(training)
        own = self.frames / options.optimization.minibatch * clock.work.step_seconds
        if (ramp := options.workers.ramp) is not None:
            own *= training.workers / ramp.mean
        cost, label = clock.cost, clock.epoch().label
        if label:
            common = cost.common_label_seconds / (cost.label_seconds + cost.common_label_seconds)
            label *= training.workers * (1 - common) + common
        return options.schedule.epochs * (own + label)

    @property
    def step_seconds(self) -> float | None:
        """Seconds of a minibatch, if they are the same for all trainings."""
        seconds = {step.seconds for step in self.steps.values()}
        return seconds.pop() if len(seconds) == 1 else None

    @property
    def how(self) -> str:
        """The way steps were measured, for the report."""
        each = "; ".join(
            f"{name}: {1000 * step.seconds:.2f} ms, deviation {100 * step.jitter:.0f} %"
            for name, step in self.steps.items()
        )
        return f"minibatches as measured on this machine, on a CPU with one core ({each}); {self.network.source}"


def network_name(options: TrainingOptions, shape: tuple[int, int, int]) -> str:
    """Return the name of the network and of the device."""
    dim, context, pdfs = shape
    device = choose_device(options.machine.device)
    groups = f" of {options.architecture.pnorm_group}" if options.architecture.nonlinearity == "pnorm" else ""
    dtype = str(choose_dtype(options.machine.precision, device)).removeprefix("torch.")
    size = f"{dim * (2 * context + 1)}-{options.architecture.hidden_dim}x{options.architecture.hidden_layers}-{pdfs}"
    return f"{size} {options.architecture.nonlinearity}{groups}, {dtype} on {device}"


def step_name(options: TrainingOptions, shape: tuple[int, int, int]) -> str:
    """Return a key for everything that the time of a minibatch depends on."""
    return (
        f"{network_name(options, shape)}, {options.optimization.optimizer}, minibatch {options.optimization.minibatch}"
    )


def sync_name(options: TrainingOptions, shape: tuple[int, int, int]) -> str:
    """Return a key for everything that the computation in a synchronization depends on."""
    return f"{step_name(options, shape)}, {options.workers.algorithm}, {options.workers.comm_dtype}"


def measured_machine(
    path: Path, store: FrameStore, trainings: list[Training], network: Interconnect, keep: bool = True
) -> Machine:
    """Measure minibatches and synchronizations of all trainings that were not measured before.

    Args:
        path: JSON file of measurements, which is extended, or replaced if it is from another machine.
        keep: whether to write it; not beside a comparison that runs, which makes measurements poor.

    Raises:
        ValueError: a training's workers cannot share the data.
    """
    longest = {training.name: _longest(store, training) for training in trainings}
    known = read_json(path) if path.is_file() else {}
    facts = environment()
    machine = {name: facts.get(name) for name in ("cpu", "gpu")}
    if known.get("machine") != machine:
        known = {}
    steps = {name: StepTime(**step) for name, step in known.get("steps", {}).items()}
    syncs: dict[str, float] = dict(known.get("syncs", {}))
    shape = (store.dim, store.context, store.num_pdfs)
    wanted = {step_name(one.training_options, shape): one.training_options for one in trainings}
    with one_thread():
        steps |= _measured_steps({name: own for name, own in wanted.items() if name not in steps}, shape)
        for training in trainings:
            options = training.training_options
            algorithm = entry(options.workers.algorithm).cls
            averages = not training.is_plain and algorithm.uses_means and algorithm.exchanges_models
            if averages and (name := sync_name(options, shape)) not in syncs:
                how, where = options.optimization, options.machine
                syncs[name] = measure_sync(
                    options.network_spec(*shape), options.workers, how.minibatch, how.optimizer, where.precision,
                    where.device,
                )  # fmt: skip
    if keep:
        write_json(path, {"machine": machine, "steps": {k: asdict(step) for k, step in steps.items()}, "syncs": syncs})
    frames = frames_of_epoch(store, trainings[0].training_options)
    return Machine(network, frames, shape, {name: steps[name] for name in wanted}, syncs, longest)


def frames_of_epoch(store: FrameStore, options: TrainingOptions) -> int:
    """Return the frames of an epoch, about: those with whole windows, less the held-out share."""
    return int((1 - options.data.held_out) * (int(store.offsets[-1]) - 2 * store.context * len(store.ids)))


def _measured_steps(wanted: Mapping[str, TrainingOptions], shape: tuple[int, int, int]) -> dict[str, StepTime]:
    """Return the median of several turns for each, in which all take part."""
    turns: dict[str, list[StepTime]] = {name: [] for name in wanted}
    for _ in range(TURNS):
        for name, own in wanted.items():
            spec, how, where = own.network_spec(*shape), own.optimization, own.machine
            step = measure_step(spec, how.minibatch, how.optimizer, where.precision, where.device)
            turns[name].append(step)
            logger.info("%s: %.2f ms (load %.1f)", name, 1000 * turns[name][-1].seconds, os.getloadavg()[0])
    return {name: sorted(steps, key=lambda step: step.seconds)[TURNS // 2] for name, steps in turns.items()}


def _longest(store: FrameStore, training: Training) -> float:
    """Return the largest share over the mean of all; ValueError when the workers cannot share the data."""
    options = training.training_options
    sites = None if options.workers.sites is None else Path(options.workers.sites)
    try:
        train, _ = store.split(options.data.held_out, options.data.held_out_by, options.data.train_share)
        shares = frames_of(
            store,
            parts_of(
                store, train, options.workers.workers, options.workers.resolved_share_by, sites, options.data.seed
            ),
        )
    except ValueError as error:
        raise ValueError(f"{training.name}: {error}") from error
    minibatch = options.optimization.minibatch
    if min(shares) < minibatch:
        raise ValueError(
            f"{training.name}: a worker has {min(shares)} frames; expected at least a minibatch of {minibatch}"
        )
    return max(shares) * len(shares) / sum(shares)
