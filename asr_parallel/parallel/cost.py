"""Costs of computing and sending, for the modelled clock (clock/modelled_clock.py)."""

import math
from dataclasses import dataclass

FORWARD = 1 / 3  # of a step, whose backward pass has two products for each one of the forward pass


@dataclass(frozen=True, slots=True)
class AllReduce:
    """A sum over all workers: bytes, and how many there are a synchronization."""

    bytes: float
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A message of one worker to all others: bytes, how many there are, and seconds of work that hide each."""

    bytes: float
    times: float = 1.0
    hidden_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StepCost:
    """The work of one worker, whatever the others do; measured where nothing else is said.

    step_seconds: a minibatch: forward, backward, optimiser.
    minibatch: frames in it.
    parameters: numbers of the model.
    label_seconds: a forward pass of a minibatch by one model; None: FORWARD of a step.
    topk_seconds: finding the most probable pdfs of a minibatch's frames.
    aggregate_seconds: adding up the posteriors of a minibatch received from another model.
    label_bytes: a minibatch's frames and posteriors.
    sync_seconds: of a worker in a synchronization on its own numbers, messages left out.
    sums: all-reduces of a minibatch where gradients are summed over all workers; empty: the gradient alone.
    """

    step_seconds: float
    minibatch: int
    parameters: int
    label_seconds: float | None = None
    topk_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    label_bytes: float = 0.0
    sync_seconds: float = 0.0
    sums: tuple[AllReduce, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError when a number is out of range."""
        if not 0 < self.step_seconds < math.inf or min(self.minibatch, self.parameters) < 1:
            raise ValueError(
                f"step of {self.step_seconds} seconds, minibatch of {self.minibatch} frames, {self.parameters}"
                " parameters: expected numbers above 0"
            )

    def one_worker_seconds(self, frames: float) -> float:
        """Return the seconds of a worker alone for so many frames, the baseline of every speedup."""
        return frames / self.minibatch * self.step_seconds

    @property
    def forward_seconds(self) -> float:
        """Seconds of a forward pass of a minibatch by one model."""
        return FORWARD * self.step_seconds if self.label_seconds is None else self.label_seconds


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting that an algorithm's cost depends on beside its options.

    minibatches: of a worker in an epoch.
    overlap: whether workers train on while messages travel.
    """

    workers: int
    minibatches: float
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class SyncCost:
    """The work and messages of a worker from one synchronization to the next, its minibatches left out.

    period: minibatches; None: never.
    means: weighted means of the model. Their bytes follow from comm_dtype, and overlap hides them.
    label_seconds: of forward passes for the others, by each worker.
    common_label_seconds: the same, where workers in one process do it once for all of them.
    """

    period: float | None
    means: int = 0
    all_reduces: tuple[AllReduce, ...] = ()
    broadcasts: tuple[Broadcast, ...] = ()
    label_seconds: float = 0.0
    common_label_seconds: float = 0.0
