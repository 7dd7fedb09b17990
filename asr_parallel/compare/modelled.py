"""The trainings of a comparison on the modelled clock: this machine's minibatches, a network of one's choice."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.step_time import StepTime, measure_step, measure_sync, work_of
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.compare.matrix import Training
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.parallel.registry import entry
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger
from asr_parallel.record.threads import one_thread
from asr_parallel.training.minibatches import frames_of, parts_of
from asr_parallel.training.options import TrainingOptions

MEASURED = "step_times.json"
TURNS = 3


@dataclass(frozen=True)
class Machine:
    """A worker's machine.

    network: between any two of them.
    frames: of the training data in an epoch.
    shape: dimensions of a frame, frames of context on either side, pdfs.
    steps: seconds of a minibatch, by what they depend on (see `step_name`).
    syncs: seconds of a worker in a synchronization on its own numbers, by `sync_name`.
    longest: by training, the largest worker's share over the mean of all.
    """

    network: Interconnect
    frames: int
    shape: tuple[int, int, int]
    steps: Mapping[str, StepTime]
    syncs: Mapping[str, float]
    longest: Mapping[str, float]

    def clock(self, training: Training) -> ModelledClock:
        """Return the modelled clock of a training on K such machines."""
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
        return ModelledClock(
            options.workers, work, self.network, self.frames, stragglers, longest=self.longest[training.name],
            constants=options.algorithm,
        )  # fmt: skip

    def here(self, training: Training) -> float:
        """Return the seconds of a training whose workers are all in one process of this machine, evaluations left out.

        What they label in common is labelled once there, not by each worker for itself.
        """
        options, clock = training.training_options, self.clock(training)
        own = self.frames / options.optimization.minibatch * clock.work.step_seconds
        cost, label = clock.cost, clock.epoch().label
        if label:
            common = cost.common_label_seconds / (cost.label_seconds + cost.common_label_seconds)
            label *= training.workers * (1 - common) + common
        return options.schedule.epochs * (own + label)

    @property
    def step_seconds(self) -> float | None:
        """The time of the minibatch that all trainings have; None where they differ."""
        seconds = {step.seconds for step in self.steps.values()}
        return seconds.pop() if len(seconds) == 1 else None

    @property
    def how(self) -> str:
        """The way it was measured, for readers of a report."""
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
    """Return the name of all that the time of a minibatch depends on."""
    return (
        f"{network_name(options, shape)}, {options.optimization.optimizer}, minibatch {options.optimization.minibatch}"
    )


def sync_name(options: TrainingOptions, shape: tuple[int, int, int]) -> str:
    """Return what the time of a synchronization depends on, messages left out."""
    return f"{step_name(options, shape)}, {options.workers.algorithm}, {options.workers.comm_dtype}"


def measured_machine(path: Path, store: FrameStore, trainings: list[Training], network: Interconnect) -> Machine:
    """Measure minibatches and synchronizations of all trainings, or read what was measured before.

    Args:
        path: JSON file of what was measured, made or added to; of another machine it is made anew.

    Raises:
        ValueError: the data cannot be shared among a training's workers.
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
            spec = options.network_spec(*shape)
            means = (
                options.workers.workers > 1
                and entry(options.workers.algorithm).cls.uses_means
                and entry(options.workers.algorithm).cls.exchanges_models
            )
            if means and (name := sync_name(options, shape)) not in syncs:
                optimization, where = options.optimization, options.machine
                syncs[name] = measure_sync(
                    spec, options.workers, optimization.minibatch, optimization.optimizer, where.precision, where.device
                )
    kept = {name: asdict(step) for name, step in steps.items()}
    write_json(path, {"machine": machine, "steps": kept, "syncs": syncs})
    held_out = trainings[0].training_options.data.held_out
    frames = int((1 - held_out) * (int(store.offsets[-1]) - 2 * store.context * len(store.ids)))
    return Machine(
        network, frames, shape, {name: step for name, step in steps.items() if name in wanted}, syncs, longest
    )


def _measured_steps(wanted: Mapping[str, TrainingOptions], shape: tuple[int, int, int]) -> dict[str, StepTime]:
    """Time minibatches by name: the median of turns, so that one slow turn does not count."""
    turns: dict[str, list[StepTime]] = {name: [] for name in wanted}
    for _ in range(TURNS):
        for name, own in wanted.items():
            spec, how, where = own.network_spec(*shape), own.optimization, own.machine
            step = measure_step(spec, how.minibatch, how.optimizer, where.precision, where.device)
            turns[name].append(step)
            logger.info("%s: %.2f ms (load %.1f)", name, 1000 * turns[name][-1].seconds, os.getloadavg()[0])
    return {name: sorted(steps, key=lambda step: step.seconds)[TURNS // 2] for name, steps in turns.items()}


def _longest(store: FrameStore, training: Training) -> float:
    """Return the largest worker's share over the mean of all; ValueError when the data cannot be shared so."""
    options = training.training_options
    sites = None if options.workers.sites is None else Path(options.workers.sites)
    try:
        train, _ = store.split(options.data.held_out, options.data.held_out_by)
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
