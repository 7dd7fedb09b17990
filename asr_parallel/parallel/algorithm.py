"""What K workers do to each other's models, in three verbs: start, synchronize, finish."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.sync_info import SyncInfo, WorkerWeights
from asr_parallel.parallel.weighted_mean import SUMS, Pending, WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup


class Replicas(Protocol):
    """The models of a process's workers, a row each of one flat float32 buffer: a StackedNetwork or a StackedRbm."""

    @property
    def parameters(self) -> Tensor:
        """(R, P) float32, in the order of WorkerGroup.local_workers."""

    def parameters_changed(self) -> None:
        """To be called after writing to `parameters`."""


class Algorithm:
    """A way to train together. Everything is called by all processes alike.

    meets: whether workers have models of their own that meet.
    ensemble: whether what workers stand for together is the mean of their outputs, not of their models.
    merged: whether all workers of a process share one model, as they would be equal at all times.
    has_separate_global_model: whether the model they stand for is another than the workers', even of a single one.
    round_epochs: epochs until the next meeting, where rounds are made of whole ones.
    sum_seconds: of this process in sums beside meetings, waiting for the others included; on a GPU those until they are
        queued.
    """

    meets = True
    ensemble = False
    shared_replica = False
    has_separate_global_model = False
    round_epochs: int | None = None
    sum_seconds = 0.0

    def __init__(
        self,
        period: int | None,
        weighing: WorkerWeights | None = None,
        comm_dtype: str = "float32",
        overlap: bool = False,
    ) -> None:
        """Args:
            comm_dtype: see WeightedMean.
            overlap: workers train on while a mean is formed, and take it in at the next meeting, one round late, with
                what they have learnt since.

        Raises:
            ValueError: a period below 1; overlap with a comm_dtype that needs a point all workers are near.
        """
        if overlap and comm_dtype in SUMS:
            raise ValueError(f"overlap goes with comm_dtype float32, not {comm_dtype}")
        if period is not None and period < 1:
            raise ValueError(f"averaging period {period}: expected at least 1 minibatch")
        self._period, self.weighing, self.comm_dtype, self.overlap = (
            period,
            weighing or WorkerWeights(),
            comm_dtype,
            overlap,
        )
        self._pending: Pending | None = None

    @property
    def period(self) -> int | None:
        """Minibatches of a worker from one synchronization to the next (the averaging period, tau); None: never."""
        return self._period

    def worker_lr_scale(self, num_workers: int) -> float:
        """By what a worker's learning rate is above the effective one, unless the user says."""
        return 1.0

    def start(self, replicas: Replicas, group: WorkerGroup, minibatches_per_epoch: int = 1) -> None:
        """Take the models as they are before the first minibatch, equal in all workers.

        Raises:
            ValueError: constants that this number of workers forbids.
        """
        self.group, parameters = group, replicas.parameters
        self._mean = WeightedMean(group, self.comm_dtype, parameters)
        # What all know the workers went on from, and are not far from when they meet next
        self._around = parameters[0].clone() if self.comm_dtype in SUMS else None
        if self.overlap:
            self._local_params = torch.zeros_like(parameters)
            self._met = torch.zeros(3 * group.num_workers + 2, dtype=torch.float64)  # the meeting of the pending sum
            self._total = torch.zeros_like(parameters[0])

    def weights(self, meeting: SyncInfo) -> np.ndarray:
        """(K,) how much each counts in the mean; not all 0."""
        return self.weighing.weights(meeting)

    def merge(self, mean: Tensor, local_params: Tensor, meeting: SyncInfo) -> Tensor:
        """Where workers go on from: (P,) all from there, or (R, P); unless overridden, the mean.

        Args:
            mean: (P,) of all workers' models, for the algorithm to keep.
            local_params: (R, P) the models of which it is.
        """
        return mean

    def synchronize(self, replicas: Replicas, meeting: SyncInfo) -> None:
        """Let the workers' models meet."""
        parameters, weights = replicas.parameters, self.weights(meeting)
        if self.overlap:
            self._take_in(parameters, meeting)
            self._local_params.copy_(parameters)
            self._met.copy_(_packed(meeting))
            self._pending = self._mean.start(parameters, weights)
        else:
            new_params = self.merge(self._mean.of(parameters, weights, self._around), parameters, meeting)
            parameters.copy_(new_params)
            if self._around is not None:
                self._around.copy_(self.known(new_params))
        replicas.parameters_changed()

    def known(self, new_params: Tensor) -> Tensor:
        """(P,) a point that all processes know and workers are near, from what merge returned."""
        return new_params

    def _take_in(self, parameters: Tensor, meeting: SyncInfo) -> None:
        """The mean of the last meeting; a worker left out in this one takes it as it is."""
        met = _unpacked(self._met)
        if not met.kept.any():  # nothing is under way
            return
        self._await_total()
        new_params = self.merge(self._total, self._local_params, met)
        lost = torch.tensor((~met.kept | ~meeting.kept)[list(self.group.local_workers)], device=parameters.device)[
            :, None
        ]
        moved = torch.where(lost, 0.0, parameters - self._local_params)
        torch.add(new_params, moved, out=parameters)

    def _await_total(self) -> None:
        """Let the mean of the last meeting be in `_total`."""
        if self._pending is not None:
            self._total, self._pending = self._mean.finish(self._pending), None

    def flush(self, replicas: Replicas) -> None:
        """Take in what is still under way, at the end."""
        if self.overlap:
            self._take_in(replicas.parameters, _unpacked(self._met))
            self._met.zero_()
            replicas.parameters_changed()

    def global_model(self, replicas: Replicas, meeting: SyncInfo) -> Tensor:
        """(P,) the model that all of them together stand for now, for the caller to read; nothing is changed.

        Args:
            meeting: as it would be now. Workers count by its rule; right after a late mean was begun, by that one's.
        """
        if self.group.num_workers == 1:
            return replicas.parameters[0]
        if self.overlap and not meeting.frames.any() and self._met.any():
            meeting = _unpacked(self._met)
        weights = self.weights(meeting)
        comm_dtype = "exact" if self.comm_dtype == "exact" else "float32"
        return WeightedMean(self.group, comm_dtype, replicas.parameters).of(replicas.parameters, weights)

    def init_reassigned_worker(self, parameters: Tensor, shared: Mapping[str, Tensor]) -> Tensor:
        """(P,) where a worker begins whose own model is lost.

        Args:
            parameters: (R, P) of others, right after a meeting.
            shared: shared_state() of then.
        """
        return parameters[0]

    @property
    def bytes_per_worker(self) -> int:
        """Of the messages of one worker so far, as if each were a process of its own: what models or gradients take;
        not the two numbers a worker brings to each meeting, nor what evaluations ask for.
        """
        return self._mean.bytes_per_worker

    def shared_state(self) -> Mapping[str, Tensor]:
        """All state that is the same in every process, by name; no copies."""
        state = {} if self._around is None else {"around": self._around}
        if self.overlap:
            self._await_total()
            state |= {"met": self._met, "total": self._total}
        return state

    def worker_state(self) -> Mapping[str, Tensor]:
        """All state of single workers, (R, ...) each, by name; no copies."""
        state = {} if self._mean.residual is None else {"residual": self._mean.residual}
        return {**state, "offered": self._local_params} if self.overlap else state


def _packed(meeting: SyncInfo) -> Tensor:
    parts = (meeting.frames, meeting.loss, meeting.kept, [meeting.rate, meeting.number])
    return torch.from_numpy(np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]))


def _unpacked(packed: Tensor) -> SyncInfo:
    values = packed.numpy()
    frames, loss, kept = values[:-2].reshape(3, -1)
    return SyncInfo(frames.astype(np.int64), loss.copy(), kept > 0, float(values[-2]), int(values[-1]))
