"""The trainings of a comparison on the modelled clock: this machine's minibatches, a network of one's choice."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from asr_parallel.compare.matrix import Training
from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.clock import Clock
from asr_parallel.parallel.network import Network
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger
from asr_parallel.training.options import TrainingOptions
from asr_parallel.training.step_time import StepTime, measure_step, work_of


@dataclass(frozen=True)
class Machine:
    """What a worker's machine is like.

    network: between any two of them.
    frames: of the training data in an epoch.
    shape: dimensions of a frame, frames of context on either side, pdfs.
    steps: seconds of a minibatch, by what they depend on (see `step_name`).
    """

    network: Network
    frames: int
    shape: tuple[int, int, int]
    steps: Mapping[str, StepTime]

    def clock(self, training: Training) -> Clock:
        """Of a training on K such machines."""
        options = training.training_options
        step = self.steps[step_name(options)]
        work = work_of(options.network_spec(*self.shape), options.minibatch, options.optimizer, step)
        return Clock(options, work, self.network, self.frames)

    def here(self, training: Training) -> float:
        """Seconds of a training whose workers are all in one process of this machine, evaluations left out."""
        options = training.training_options
        epoch, step = self.clock(training).epoch(), self.steps[step_name(options)].seconds
        own = self.frames / options.minibatch * step
        return options.epochs * (own + training.workers * epoch.label)

    @property
    def step_seconds(self) -> float | None:
        """Of the minibatch that all trainings have; None where they differ."""
        seconds = {step.seconds for step in self.steps.values()}
        return seconds.pop() if len(seconds) == 1 else None

    @property
    def how(self) -> str:
        """For readers of a report."""
        each = "; ".join(f"{name}: {1000 * step.seconds:.2f} ms" for name, step in self.steps.items())
        return f"minibatches as measured on one core of this machine ({each}); {self.network.source}"


def step_name(options: TrainingOptions) -> str:
    """What the time of a minibatch depends on."""
    return (
        f"{options.hidden_layers} x {options.hidden_dim} {options.nonlinearity}, {options.optimizer}, minibatch"
        f" {options.minibatch}, {options.precision}"
    )


def measured_machine(path: Path, store: FrameStore, trainings: list[Training], network: Network) -> Machine:
    """Measure minibatches of all trainings, or read what was measured before, so that a comparison has one clock.

    Args:
        path: JSON file of what was measured; made or added to.
    """
    known = {name: StepTime(**step) for name, step in read_json(path).items()} if path.is_file() else {}
    shape = (store.dim, store.context, store.num_pdfs)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for training in trainings:
            options = training.training_options
            name = step_name(options)
            if name not in known:
                known[name] = measure_step(
                    options.network_spec(*shape),
                    options.minibatch,
                    options.optimizer,
                    options.precision,
                    options.device,
                )
                logger.info("%s: %.2f ms (load %.1f)", name, 1000 * known[name].seconds, os.getloadavg()[0])
                write_json(path, {name: asdict(step) for name, step in known.items()})
    finally:
        torch.set_num_threads(threads)
    wanted = {step_name(training.training_options) for training in trainings}
    held_out = trainings[0].training_options.held_out
    frames = int((1 - held_out) * (int(store.offsets[-1]) - 2 * store.context * len(store.ids)))
    return Machine(network, frames, shape, {name: step for name, step in known.items() if name in wanted})
