"""The training loop that networks and RBMs share: steps, hooks, checkpoints, and stops that signals ask for."""

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.state import State, Stateful, copy_tensors, join
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import LostError, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.interrupt import Interrupted, StopRequest
from asr_parallel.record.timer import EXCHANGE, OTHER, NoTimer, Timer
from asr_parallel.training.checkpoint import CHECKPOINTS, Checkpoint, Checkpoints
from asr_parallel.training.hooks import Hook, TrainingStep
from asr_parallel.training.minibatches import Minibatches

CHECKPOINT_SECONDS = 600.0  # at most so much is trained again after a crash, where many frames take longer
AGREE_MINIBATCHES = 16  # of a worker: as many as lie between two synchronizations (parallel/average.py)
SAVE = 1  # below any signal's number plus SAVE


class Loop(ABC):
    """Trains minibatch by minibatch, calls its hooks, and writes checkpoints of its state.

    A checkpoint is the joined state of `parts`, each under its name.

    group, scheduler, batches: workers, their synchronization and their data.
    work: folder for checkpoints and logs.
    epoch, minibatch: epochs finished, and minibatches of the current one.
    frames: trained on so far, by all workers.
    hooks: called in this order.
    """

    def __init__(self, group: WorkerGroup, scheduler: Scheduler, batches: Minibatches, work: Path) -> None:
        self.group, self.scheduler, self.batches, self.work = group, scheduler, batches, work
        self.epoch, self.minibatch, self.frames = 0, 0, 0
        self.hooks: list[Hook] = []
        self.parts: dict[str, Stateful] = {}
        self.checkpoints = Checkpoints(work / CHECKPOINTS, transport=group.transport)
        # A replica that all workers share is stored once, as worker 0's
        self.stored_workers = [0] if scheduler.algorithm.shared_replica else list(group.local_workers)

    def add_hook(self, hook: Hook, name: str | None = None) -> None:
        """Call a hook after those that are there; with a name its state is a part of checkpoints."""
        self.hooks.append(hook)
        if name is not None:
            self.parts[name] = hook

    @property
    def number(self) -> int:
        """Minibatches of a worker so far."""
        return self.batches.minibatches_before(self.epoch) + self.minibatch

    @property
    def timer(self) -> Timer | NoTimer:
        """The timer of the hook that measures phases, if there is one."""
        return next((hook.timer for hook in self.hooks if hook.timer is not None), NoTimer())

    @property
    @abstractmethod
    def finished(self) -> bool:
        """True when the training is over; read between epochs."""

    @abstractmethod
    def minibatches(self) -> Iterable[Any]:
        """Return the minibatches left of the epoch."""

    @abstractmethod
    def train_on(self, minibatch: Any, step: TrainingStep) -> None:
        """Update the models by a minibatch, synchronize by `synchronize`, and fill in the step."""

    @abstractmethod
    def end_epoch(self) -> None:
        """Act after the last minibatch of an epoch; `epoch` is still its number."""

    def frames_in(self, minibatch: Any) -> np.ndarray:
        """Return (K,) int64, frames of each worker in the next minibatch."""
        return self.batches.frames(self.minibatch, self.minibatch + 1, self.epoch)

    def ends_epoch(self, frames: int) -> bool:
        """Return whether the next minibatch, after which `frames` frames are trained on, ends the epoch."""
        return self.minibatch + 1 == self.batches.minibatches_in(self.epoch)

    def may_save(self, step: TrainingStep) -> bool:
        """Return whether the models are good enough for a checkpoint. Called by all processes alike."""
        return True

    def train(self, request: StopRequest, device: torch.device, checkpoint_frames: int) -> None:
        """Train to the end.

        Args:
            request: of signals.
            device: of the tensor by which processes agree to stop.
            checkpoint_frames: between two checkpoints.

        Raises:
            Interrupted: by a signal, which any of the processes got; after a checkpoint, if all of them are there.
            LostError: another process is lost.
        """
        points = StopPoints(request, self.group.transport, self.scheduler, device)
        frozen = gc.get_freeze_count() > 0
        if not frozen:  # the libraries' objects, some 300,000: to look at them takes a fifth of a small network's time
            gc.freeze()
        try:
            if not self.frames:  # a lower learning rate may start here, too
                self.save()
            while not self.finished:
                self.run_epoch(points, checkpoint_frames)
                self.end_epoch()
        except LostError as error:
            if request.number:  # the signal has reached the others too
                raise Interrupted(request.number) from error
            raise
        finally:
            if not frozen:
                gc.unfreeze()

    def run_epoch(self, points: "StopPoints | None" = None, checkpoint_frames: int | None = None) -> None:
        """Train on what is left of the current epoch."""
        for minibatch in self.minibatches():
            step = self.run_step(minibatch, points, checkpoint_frames)
            if points is not None:
                points.stop()
            del minibatch, step  # not held while the next one is made

    def run_step(
        self, minibatch: Any, points: "StopPoints | None" = None, checkpoint_frames: int | None = None
    ) -> TrainingStep:
        """Train on one minibatch of every worker, call the hooks, and write a checkpoint if one is due."""
        trained = self.frames_in(minibatch)
        frames = self.frames + int(trained.sum())
        step = TrainingStep(
            before=self.frames,
            frames=frames,
            number=self.number + 1,
            last=self.ends_epoch(frames),
            worker_frames=trained,
            synced=False,
        )
        self.train_on(minibatch, step)
        self.frames, self.minibatch = step.frames, self.minibatch + 1
        if step.synced:
            for hook in self.hooks:
                hook.on_sync(step)
        checkpoint = points is not None and points.due(step.number, step.synced)
        checkpoint = step.crosses(checkpoint_frames) or checkpoint
        step.due = checkpoint or any(hook.due(step) for hook in self.hooks)
        for hook in self.hooks:
            hook.on_batch(step)
        if checkpoint and self.may_save(step):
            self.save()
        return step

    def synchronize(self, replicas: Any, step: TrainingStep, loss_sums: Tensor | None = None) -> None:
        """Let the scheduler count the step, and synchronize the workers when their period is over."""
        assert isinstance(self.scheduler, SyncScheduler)
        with self.timer.during(EXCHANGE) if self.scheduler.sync_due else NoTimer().during(EXCHANGE):
            step.synced = self.scheduler.after_batch(replicas, step.worker_frames, loss_sums, step.learning_rate)

    def state_dict(self, collective: bool = True) -> State:
        """Return the joined state of the loop and its parts.

        Args:
            collective: whether other processes call this too. Else parts that need them are left out.
        """
        own = State(values={"epoch": self.epoch, "minibatch": self.minibatch, "frames": self.frames})
        parts = {
            name: part.state_dict()
            for name, part in self.parts.items()
            if collective or not getattr(part, "collective_state", False)
        }
        return join({"loop": own, **parts})

    def load_state_dict(self, state: State) -> None:
        """Go on from the state of a training with the same data and options; ValueError when it is of another."""
        for name, value in state.part("loop").values.items():
            setattr(self, name, value)
        for name, part in self.parts.items():
            part.load_state_dict(state.part(name))

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        with self.timer.during(OTHER):
            state, workers = self.state_dict(), {}
            if self.stored_workers == list(self.group.local_workers) or self.group.is_main:
                for r, worker in enumerate(self.stored_workers):
                    workers[worker] = {name: tensor[r] for name, tensor in state.per_worker.items()}
            self.checkpoints.save(self.frames, state.shared, state.values, workers)

    def newest_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, None when there is none."""
        return self.checkpoints.newest(self.stored_workers)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of a training with the same data and options; ValueError when it is of another."""
        self.load_state_dict(
            stacked_state(checkpoint.tensors, checkpoint.workers, self.stored_workers, checkpoint.state)
        )


def stacked_state(
    shared: Mapping[str, Tensor],
    workers: Mapping[int, Mapping[str, Tensor]],
    order: Sequence[int],
    values: Mapping[str, Any],
) -> State:
    """Return a state whose tensors of single workers are stacked in this order."""
    names = workers[order[0]]
    per_worker = {name: torch.stack([workers[worker][name] for worker in order]) for name in names}
    return State(shared, per_worker, values)


@dataclass(frozen=True)
class WorkerTensors:
    """Tensors (R, ...) of this process's workers, as a part of a loop's state.

    what: for error messages.
    changed: called after they were loaded.
    """

    what: str
    tensors: Mapping[str, Tensor]
    changed: Callable[[], None]

    def state_dict(self) -> State:
        return State(per_worker=self.tensors)

    def load_state_dict(self, state: State) -> None:
        copy_tensors(self.tensors, state.per_worker, self.what)
        self.changed()


class StopPoints:
    """Decides, for all processes alike, after which minibatches a checkpoint is due and whether it is the last.

    The processes agree about every AGREE_MINIBATCHES minibatches, at a synchronization if there is one as often, where
    they wait for each other anyway. It costs an all-reduce of one number. With overlap they agree just before, when the
    mean that is under way has to arrive anyway. The network does not depend on it.
    """

    def __init__(self, request: StopRequest, transport: Transport, scheduler: Scheduler, device: torch.device) -> None:
        self._request, self._transport, self._device = request, transport, device
        self._scheduler = scheduler
        period = scheduler.algorithm.period
        often = period is not None and period <= AGREE_MINIBATCHES and scheduler.options.qsr_alpha is None
        self._period = period if scheduler.synchronizes and often else None
        self._saved = time.monotonic()
        self._number = 0

    def due(self, minibatch: int, synced: bool) -> bool:
        """Return whether to write a checkpoint now. Called by all processes alike, after every minibatch.

        Args:
            minibatch: how many each worker has had.
            synced: whether the workers have just synchronized.
        """
        code = SAVE + self._request.number if self._request.number else 0
        if not code and self._transport.rank == 0 and time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            code = SAVE
        if self._transport.size > 1:
            if not self._agree_after(minibatch, synced):
                return False
            largest = torch.tensor([code], dtype=torch.int32, device=self._device)
            self._transport.all_reduce_max(largest)
            code = int(largest)
        if code:
            self._saved = time.monotonic()
        self._number = max(0, code - SAVE)
        return code > 0

    def _agree_after(self, minibatch: int, synced: bool) -> bool:
        if self._period is None:
            return minibatch % AGREE_MINIBATCHES == 0
        here = self._scheduler.sync_due if self._scheduler.options.overlap else synced
        return here and minibatch % AGREE_MINIBATCHES < self._period

    def stop(self) -> None:
        """Raise Interrupted when the checkpoint that was due is the last."""
        if self._number:
            raise Interrupted(self._number)
