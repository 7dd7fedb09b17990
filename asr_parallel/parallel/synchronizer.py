"""Synchronizations of workers' models by an algorithm: at once, or overlapped with training."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.comm_dtypes import SUMS
from asr_parallel.parallel.state import State, join
from asr_parallel.parallel.sync_info import Sync, SyncInfo, WorkerWeights
from asr_parallel.parallel.weighted_mean import Pending, WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions


class Synchronizer:
    """Forms the means that an algorithm's rule asks for, and gives workers the models that it returns.

    comm_dtype of integers needs a point that all processes know and workers are near: `anchor`, the model that all go
    on from or else the global one.
    """

    def __init__(
        self, algorithm: Algorithm, group: WorkerGroup, replicas: Replicas, options: WorkerOptions, comm_dtype: str
    ) -> None:
        """Take an algorithm that was started. comm_dtype: see WeightedMean."""
        self.algorithm, self.group = algorithm, group
        self._weighting = WorkerWeights(options.weights, options.best_first)
        self._mean = WeightedMean(group, comm_dtype, replicas.parameters)
        self._anchor = replicas.parameters[0].clone() if comm_dtype in SUMS else None

    def synchronize(self, replicas: Replicas, info: SyncInfo) -> None:
        """Let the algorithm change the workers' models."""
        params = replicas.parameters
        sync = self._sync(params, info, lambda: self._mean.of(params, self.weights(info), self._anchor))
        new_params = self.algorithm.merge(params, sync)
        if new_params is params:
            return
        params.copy_(new_params)
        if self._anchor is not None:
            common = new_params.dim() == 1
            self._anchor.copy_(new_params if common else self.algorithm.global_model(params, sync))
        replicas.parameters_changed()

    def average(self, replicas: Replicas, info: SyncInfo) -> None:
        """Let all workers go on from the mean of their models, whatever the algorithm."""
        params = replicas.parameters
        mean = self._mean.of(params, self._weighting.weights(info), self._anchor)
        params.copy_(mean)
        if self._anchor is not None:
            self._anchor.copy_(mean)
        replicas.parameters_changed()

    def current_average(self, replicas: Replicas, info: SyncInfo) -> Tensor:
        """Return (P,) the mean that `average` would make now, to be read; nothing is changed."""
        return self._current_mean(replicas, self._weighting.weights(info))

    def _current_mean(self, replicas: Replicas, weights: np.ndarray) -> Tensor:
        params = replicas.parameters
        if self.group.num_workers == 1:
            return params[0]
        comm_dtype = "exact" if self._mean.comm_dtype == "exact" else "float32"
        return WeightedMean(self.group, comm_dtype, params).of(params, weights)

    def flush(self, replicas: Replicas) -> None:
        """Take in what is under way, at the end."""

    def global_model(self, replicas: Replicas, info: SyncInfo) -> Tensor:
        """Return (P,) the model that all workers stand for now, to be read; nothing is changed."""
        params = replicas.parameters
        mean = self._sync(params, info, lambda: self._current_mean(replicas, self.weights(info)))
        return self.algorithm.global_model(params, mean)

    def weights(self, info: SyncInfo) -> np.ndarray:
        """Return (K,) the weight of each worker in a mean; not all 0."""
        weights = self.algorithm.weights(info)
        return self._weighting.weights(info) if weights is None else weights

    @property
    def bytes_per_worker(self) -> int:
        """Bytes in messages of one worker so far, as if each were a process of its own.

        Models or gradients count, but not the two numbers of a worker at each synchronization, nor evaluations.
        """
        return self._mean.bytes_per_worker + self.algorithm.own_bytes

    def state_dict(self) -> State:
        """Return the algorithm's state and that of its messages; no copies."""
        state = join({"algorithm": State(self.algorithm.shared, self.algorithm.per_worker)})
        shared, per_worker = dict(state.shared), dict(state.per_worker)
        if self._anchor is not None:
            shared["anchor"] = self._anchor
        if self._mean.residual is not None:
            per_worker["residual"] = self._mean.residual
        return State(shared, per_worker)

    def _sync(self, params: Tensor, info: SyncInfo, mean: Callable[[], Tensor]) -> Sync:
        known = {one.name: getattr(info, one.name) for one in fields(SyncInfo)}

        def receive(worker: int) -> Tensor:
            source = self.group.rank_of(worker)
            row = self.group.local_workers.index(worker) if source == self.group.transport.rank else 0
            model = params[row].clone()
            self.group.transport.start_broadcast(model, source)()
            return model

        return Sync(**known, group=self.group, mean=mean, receive=receive)


class OverlappedSynchronizer(Synchronizer):
    """Synchronizations whose means are formed while workers train on.

    A mean is taken in at the next synchronization, one period late, with what the workers have learnt since. A worker
    that is left out then takes it as it is.
    """

    def __init__(
        self, algorithm: Algorithm, group: WorkerGroup, replicas: Replicas, options: WorkerOptions, comm_dtype: str
    ) -> None:
        super().__init__(algorithm, group, replicas, options, comm_dtype)
        parameters = replicas.parameters
        self._pending: Pending | None = None
        self._local_params = torch.zeros_like(parameters)  # of which the pending mean is
        self._info = torch.zeros(3 * group.num_workers + 2, dtype=torch.float64)  # of that synchronization
        self._total = torch.zeros_like(parameters[0])

    def synchronize(self, replicas: Replicas, info: SyncInfo) -> None:
        """Take in the last mean and begin the next."""
        parameters = replicas.parameters
        self._take_in(parameters, info)
        self._local_params.copy_(parameters)
        self._info.copy_(_packed(info))
        self._pending = self._mean.start(parameters, self.weights(info))
        replicas.parameters_changed()

    def flush(self, replicas: Replicas) -> None:
        """Take in the last mean, at the end."""
        self._take_in(replicas.parameters, _unpacked(self._info))
        self._info.zero_()
        replicas.parameters_changed()

    def global_model(self, replicas: Replicas, info: SyncInfo) -> Tensor:
        """Return (P,) the global model; right after a mean was begun, workers count as in that one."""
        if not info.frames.any() and self._info.any():
            info = _unpacked(self._info)
        return super().global_model(replicas, info)

    def state_dict(self) -> State:
        """Return the algorithm's state and that of the pending mean; no copies."""
        self._await_total()
        state = super().state_dict()
        shared = {**state.shared, "pending_info": self._info, "pending_mean": self._total}
        return State(shared, {**state.per_worker, "local_params": self._local_params})

    def _take_in(self, parameters: Tensor, info: SyncInfo) -> None:
        pending = _unpacked(self._info)
        if not pending.valid.any():  # there is none
            return
        self._await_total()
        sync = self._sync(self._local_params, pending, lambda: self._total)
        new_params = self.algorithm.merge(self._local_params, sync)
        left_out = torch.tensor(sync.local(~pending.valid | ~info.valid), device=parameters.device)[:, None]
        moved = torch.where(left_out, 0.0, parameters - self._local_params)
        torch.add(new_params, moved, out=parameters)

    def _await_total(self) -> None:
        """Wait until the last mean is in `_total`."""
        if self._pending is not None:
            self._total, self._pending = self._mean.finish(self._pending), None


def synchronizer(
    algorithm: Algorithm, group: WorkerGroup, replicas: Replicas, options: WorkerOptions, exact: bool = False
) -> Synchronizer:
    """Return what the options ask for, for an algorithm that was started.

    Args:
        exact: form means in fixed point, see WeightedMean.
    """
    kind = OverlappedSynchronizer if options.overlap and algorithm.uses_means else Synchronizer
    comm_dtype = options.comm_dtype if group.num_workers > 1 else "float32"  # one sends nothing that would be rounded
    return kind(algorithm, group, replicas, options, "exact" if exact else comm_dtype)


def _packed(info: SyncInfo) -> Tensor:
    parts = (info.frames, info.loss, info.valid, [info.lr, info.index])
    return torch.from_numpy(np.concatenate([np.asarray(part, dtype=np.float64) for part in parts]))


def _unpacked(packed: Tensor) -> SyncInfo:
    values = packed.numpy()
    frames, loss, valid = values[:-2].reshape(3, -1)
    return SyncInfo(frames.astype(np.int64), loss.copy(), valid > 0, float(values[-2]), int(values[-1]))
