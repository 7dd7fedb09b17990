"""The interface between a training loop and its hooks, and two of a network's training."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithm import TrainingHook
from asr_parallel.parallel.state import State, copy_tensors
from asr_parallel.record.timer import Timer


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """A minibatch of every worker, after it was trained on.

    before, frames: frames trained on by all workers, before and after it.
    number: minibatches of a worker so far.
    last: whether it ends its epoch.
    worker_frames: (K,) int64, frames of each worker in it.
    synced: whether the workers have synchronized after it.
    due: whether a hook uses the model after it, or a checkpoint is due; see Hook.due.
    learning_rate: per frame.
    loss_sums: (R,) nats, of this process's models; 0 for workers without frames. None where no loss is measured.
    correct: (R,) frames whose best class is the label.
    max_change_scale: (R,) see nnet/optimizer.py.
    waited_seconds: time that this process has waited for data since the run began.
    """

    before: int
    frames: int
    number: int
    last: bool
    worker_frames: np.ndarray
    synced: bool
    due: bool = False
    learning_rate: float = 0.0
    loss_sums: Tensor | None = None
    correct: Tensor | None = None
    max_change_scale: Tensor | None = None
    waited_seconds: float = 0.0

    def crosses(self, period: int | None) -> bool:
        """Return whether the frames pass a multiple of `period` in this step; None is never passed."""
        return period is not None and self.frames // period > self.before // period


@dataclass(slots=True, kw_only=True)
class EpochEnd:
    """The end of an epoch, after its model was evaluated on held-out data.

    frames: trained on by all workers.
    loss, accuracy: of the held-out frames.
    per_worker: JSON values of each worker's model, where workers are evaluated.
    accepted: whether the schedule goes on from this model.
    finished: whether the training is over.
    learning_rate: per frame, in this epoch.
    train_loss: of the last minibatches; the MetricsLogger fills it in.
    """

    frames: int
    loss: float
    accuracy: float
    per_worker: dict[str, Any] | None
    accepted: bool
    finished: bool
    learning_rate: float
    train_loss: float | None = field(default=None)


class Hook:
    """A part of a training beside its loop, which calls it. Every process calls the methods in the same order.

    timer: of the phases of a round, where the hook measures them.
    collective_state: whether `state_dict` waits for other processes.
    """

    timer: Timer | None = None
    collective_state = False

    def due(self, step: TrainingStep) -> bool:
        """Return whether the hook will use the model after this step, which is then checked first."""
        return False

    def on_sync(self, step: TrainingStep) -> None:
        """Act after a step that ended in a synchronization, before `on_batch` of any hook."""

    def on_batch(self, step: TrainingStep) -> None:
        """Act after a step."""

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Act after an epoch, before its checkpoint."""

    def state_dict(self) -> State:
        """Return what `load_state_dict` needs to go on; tensors are no copies."""
        return State()

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned."""


class AlgorithmHook(Hook):
    """The training hook of an algorithm that takes part in the loop, see parallel/algorithm.py."""

    def __init__(self, hook: TrainingHook) -> None:
        self._hook, self.timer, self._number = hook, hook.phases, 0

    def on_sync(self, step: TrainingStep) -> None:
        self._hook.after_sync(step.number)

    def on_batch(self, step: TrainingStep) -> None:
        self._number = step.number
        if not step.synced:
            self._hook.after_batch()

    def state_dict(self) -> State:
        return State(values={"minibatches": self._number})

    def load_state_dict(self, state: State) -> None:
        self._number = state.values["minibatches"]
        self._hook.restore(self._number)


class BestModel(Hook):
    """The best model so far, to which a rejected epoch goes back."""

    def __init__(self, network: StackedNetwork) -> None:
        self._network, self._best = network, network.parameters.clone()

    def on_epoch_end(self, end: EpochEnd) -> None:
        if end.accepted:
            self._best.copy_(self._network.parameters)
        else:
            self._network.parameters.copy_(self._best)
            self._network.parameters_changed()

    def state_dict(self) -> State:
        return State(per_worker={"model": self._best})

    def load_state_dict(self, state: State) -> None:
        copy_tensors(self.state_dict().per_worker, state.per_worker, "best model")
