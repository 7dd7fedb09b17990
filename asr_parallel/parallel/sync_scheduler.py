"""When workers meet, who is of use there, and what happens to what is theirs beside the models."""

import time
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.state import State, copy_tensors
from asr_parallel.parallel.sync_info import DROP_WORSE, DivergedError, SyncInfo, keep
from asr_parallel.parallel.weighted_mean import WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.log import logger


class Optimizing(Protocol):
    """What meetings may touch of an optimiser."""

    def moments(self) -> list[Tensor]:
        """State that has a mean, (R, ...) each: velocities, moving averages of gradients."""

    def forget(self) -> None:
        """Start anew, as if no minibatch had been seen."""

    def leave_lookahead(self) -> None:
        """Put parameters where models are compared."""

    def enter_lookahead(self) -> None:
        """Put parameters where gradients are taken."""


class SyncScheduler:
    """Calls an algorithm every `period` minibatches of a worker, whatever epochs and checkpoints lie between.

    Before the models meet, the workers' losses and whether their models are finite do: who is of no use is left out.

    meet: whether workers ever do.
    left_out: (K,) int64, how often each was.
    began: when this was made, monotonic seconds.
    waited_seconds: of this process, until the last of the others had come to a meeting.
    moved_seconds: of this process, spent in meetings otherwise: on means and on what algorithms do with them.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        group: WorkerGroup,
        replicas: Replicas,
        drop_worse: float = DROP_WORSE,
        optimizer: Optimizing | None = None,
        optimizer_state: str = "keep",
        ema: float = 0.0,
    ) -> None:
        """Args:
        drop_worse: nats a frame; a worker whose loss is above the best one by more is left out.
        optimizer, optimizer_state: of which the state is kept, averaged or reset at a meeting.
        ema: part that a moving average of the synchronized model keeps of itself (Tian et al., "Exponential moving
            average model in parallel speech recognition training", 2017); it is the final model and never goes back to
            the workers. 0: the synchronized model itself.
        """
        self.algorithm, self.group, self.drop_worse, self.ema = algorithm, group, drop_worse, ema
        several = group.num_workers > 1 or algorithm.has_separate_global_model or algorithm.round_epochs is not None
        self.meet = algorithm.meets and algorithm.period is not None and several
        self._optimizer, self._optimizer_state = optimizer, optimizer_state
        self._minibatches = self._number = 0  # since the last meeting; meetings so far
        self._frames = np.zeros(group.num_workers, dtype=np.int64)
        self._loss = torch.zeros(len(group.local_workers), dtype=torch.float64, device=replicas.parameters.device)
        self._rate = 0.0
        self._averaged = replicas.parameters[0].clone() if ema else None
        self.left_out = np.zeros(group.num_workers, dtype=np.int64)
        self.waited_seconds = self.moved_seconds = 0.0
        self.began = time.monotonic()

    @property
    def sync_due(self) -> bool:
        """Whether workers meet after the next minibatch."""
        return self.meet and self._minibatches + 1 == self.algorithm.period

    @property
    def meetings(self) -> int:
        """So far; of a model in common, its minibatches."""
        return self._number

    def trained(
        self, replicas: Replicas, frames: np.ndarray, loss_sums: Tensor | None = None, rate: float = 0.0
    ) -> bool:
        """Every worker has had its turn. Returns whether they have met after it.

        Args:
            frames: (K,) that each has trained on.
            loss_sums: (R,) of this process's workers, summed over their frames; None: no loss to compare.
            rate: learning rate per frame.

        Raises:
            ValueError: no worker's model is of use; the training has diverged.
        """
        if not self.meet:
            if self._averaged is not None:
                self._follow(replicas.parameters[0])
            self._number += 1
            return False
        self._minibatches += 1
        self._frames += frames
        if loss_sums is not None:
            idle = frames[list(self.group.local_workers)] == 0
            if idle.any():  # else a GPU need not be told
                loss_sums = loss_sums.masked_fill(torch.from_numpy(idle).to(loss_sums.device), 0.0)
            self._loss += loss_sums
        self._rate = rate
        if self._minibatches != self.algorithm.period:
            return False
        self._meet(replicas)
        return True

    def model(self, replicas: Replicas) -> Tensor:
        """(P,) the model to be judged and delivered, as of now, for the caller to read.

        Between two meetings it is what workers would come to if they met now.
        """
        if self._averaged is not None:
            return self._averaged
        meeting = self._meeting(replicas)
        if not meeting.kept.any():
            meeting = replace(meeting, kept=~meeting.kept)
        return self.algorithm.global_model(replicas, meeting)

    def finish(self, replicas: Replicas) -> Tensor:
        """(P,) the final model, with what workers have learnt since the last meeting."""
        if self.meet:
            if self._minibatches:
                self._meet(replicas)
            self.algorithm.flush(replicas)
        if self._optimizer is not None:
            self._optimizer.leave_lookahead()
        return self.model(replicas)

    def finite_mask(self, replicas: Replicas) -> np.ndarray:
        """(K,) bool, whose model is finite. Called by all processes alike."""
        return self._exchange(replicas)[1]

    def _meet(self, replicas: Replicas) -> None:
        if self._optimizer is not None:
            self._optimizer.leave_lookahead()
        began = time.monotonic()
        meeting = self._meeting(replicas)
        came = time.monotonic()
        self.waited_seconds += came - began
        self._tell(meeting.loss, meeting.kept)
        self.left_out += ~meeting.kept
        self.algorithm.synchronize(replicas, meeting)
        if self._averaged is not None:
            # With overlap workers differ, and those left out are not restored yet; else all of them have the model now
            differ = self.algorithm.has_separate_global_model or self.algorithm.overlap
            model = self.algorithm.global_model(replicas, meeting) if differ else replicas.parameters[0]
            self._follow(model)
        self._settle_state(meeting.kept)
        self._number += 1
        self._minibatches = 0
        self._frames[:] = 0
        self._loss.zero_()
        self.moved_seconds += time.monotonic() - came

    def _meeting(self, replicas: Replicas) -> SyncInfo:
        """Return the meeting as it would be now."""
        losses, sound = self._exchange(replicas)
        loss = np.divide(losses, self._frames, out=np.full(len(losses), np.nan), where=self._frames > 0)
        kept = keep(self._frames, loss, sound, self.drop_worse)
        return SyncInfo(self._frames.copy(), loss, kept, self._rate, self._number)

    def _exchange(self, replicas: Replicas) -> tuple[np.ndarray, np.ndarray]:
        """(K,) of all workers: loss summed since the last meeting, and whether the model is finite."""
        own = list(self.group.local_workers)
        sums = torch.zeros(2, self.group.num_workers, dtype=torch.float64, device=self._loss.device)
        sums[0, own] = self._loss.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        # A sum may overflow where no number has; such a model is of no use either
        sums[1, own] = replicas.parameters.sum(dim=1).isfinite().double()
        self.group.transport.all_reduce(sums)
        losses, sound = sums.cpu().numpy()
        return losses, sound > 0

    def _tell(self, loss: np.ndarray, kept: np.ndarray) -> None:
        if not kept.any():
            raise DivergedError(
                f"training diverged: at meeting {self._number + 1} no worker's model is of use (loss"
                f" {', '.join(f'{of_one:.4g}' for of_one in loss)}), learning rate {self._rate:.3g} per frame"
            )
        best = np.nanmin(loss[kept]) if np.isfinite(loss[kept]).any() else np.nan
        for worker in np.flatnonzero(~kept):
            logger.warning(
                "meeting %d: worker %d left out: loss %.4g a frame, the best %.4g",
                self._number + 1, worker, loss[worker], best,
            )  # fmt: skip

    def _follow(self, model: Tensor) -> None:
        """Take a synchronized model into the moving average: a plain mean of the first few, none of the untrained."""
        assert self._averaged is not None
        self._averaged.lerp_(model, 1 - min(self.ema, self._number / (self._number + 1)))

    def _settle_state(self, kept: np.ndarray) -> None:
        if self._optimizer is None:
            return
        if self._optimizer_state == "reset":
            self._optimizer.forget()
        elif self._optimizer_state == "average":
            weights = kept.astype(float)
            for tensor in self._optimizer.moments():
                flat = tensor.flatten(1)
                flat.copy_(WeightedMean(self.group, "float32", flat).of(flat, weights))
        elif not kept.all():
            left_out = [r for r, worker in enumerate(self.group.local_workers) if not kept[worker]]
            for tensor in self._optimizer.moments():
                tensor[left_out] = 0.0  # what may have led it astray
        self._optimizer.enter_lookahead()

    def state_dict(self) -> State:
        """Return the state of the scheduler and of the algorithm; not collective, and no copies."""
        shared = dict(self.algorithm.shared_state())
        if self._averaged is not None:
            shared["ema"] = self._averaged
        per_worker = dict(self.algorithm.worker_state())
        if self.meet:
            per_worker["loss"] = self._loss
        values = {
            "minibatches": self._minibatches,
            "meetings": self._number,
            "frames": self._frames.tolist(),
            "left_out": self.left_out.tolist(),
        }
        return State(shared, per_worker, values)

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned."""
        mine, values = self.state_dict(), state.values
        copy_tensors(mine.shared, state.shared, "algorithm")
        copy_tensors(mine.per_worker, state.per_worker, "algorithm")
        self._minibatches, self._number = values["minibatches"], values["meetings"]
        self._frames[:] = values["frames"]
        self.left_out[:] = values["left_out"]

    def reassigned_worker(self, params: Tensor) -> dict[str, Tensor]:
        """Return the tensors of a worker whose process was lost, by name; the rest is a neighbour's.

        Args:
            params: (R, P) of others right after a synchronization, of which this has loaded the state.
        """
        model = self.algorithm.init_reassigned_worker(params, self.algorithm.shared_state())
        return {"parameters": model, "offered": model, "residual": torch.zeros_like(model)}
