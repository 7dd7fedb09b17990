"""Synchronizations in the course of a training: when they happen, which workers are valid, what follows from them."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Context, Optimizing, Replicas
from asr_parallel.parallel.quadratic_rule import QuadraticRule
from asr_parallel.parallel.state import State, copy_tensors
from asr_parallel.parallel.sync_info import SyncInfo, valid_workers
from asr_parallel.parallel.sync_measures import SyncMeasures
from asr_parallel.parallel.synchronizer import synchronizer
from asr_parallel.parallel.weighted_mean import WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions
from asr_parallel.record.timer import NoTimer, Timer


class SyncScheduler:
    """Synchronizes workers every `period` minibatches of a worker, whatever epochs and checkpoints lie between.

    With the option sync_first, they begin as post-local SGD does (Lin, Stich, Patel & Jaggi, "Don't use large
    mini-batches, use local SGD", arXiv 1808.07217): in that part of the training all go on from the mean of their
    models after every minibatch, as with summed gradients, and the algorithm starts from the model that they have then.

    With the option qsr_alpha, the period of a round follows from the learning rate at its first minibatch
    (parallel/quadratic_rule.py).

    First the workers' losses and whether their models are finite are exchanged: a worker that is not valid is left out.

    synchronizes: whether workers ever synchronize.
    measures: of the synchronizations so far.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        group: WorkerGroup,
        replicas: Replicas,
        options: WorkerOptions | None = None,
        optimizer: Optimizing | None = None,
        optimizer_state: str = "keep",
        *,
        minibatches_per_epoch: int = 1,
        epochs: int = 1,
        rate_frames: int = 1,
        exact: bool = False,
    ) -> None:
        """Start the algorithm from the models before the first minibatch.

        Args:
            options: of them weights, best_first, drop_worse, comm_dtype, overlap, sync_first, qsr_alpha and ema count.
            optimizer, optimizer_state: whether its state is kept, averaged or reset at a synchronization.
            minibatches_per_epoch, epochs: see Context.
            rate_frames: frames by which rates become those of a minibatch's mean gradient, for qsr_alpha.
            exact: form means in fixed point, see WeightedMean.

        Raises:
            ValueError: constants that the number of workers or the data forbid.
        """
        self.options = options = options or WorkerOptions(workers=group.num_workers)
        self.algorithm, self.group = algorithm, group
        self._context = Context(group, minibatches_per_epoch, epochs, options.overlap)
        algorithm.start(replicas.parameters[0], self._context)
        self.synchronizer = synchronizer(algorithm, group, replicas, options, exact)
        # A moving average of one worker's model is taken every period, too, as that of several is
        moved = group.num_workers > 1 or algorithm.moves_one_worker() or options.ema > 0
        self.synchronizes = algorithm.exchanges_models and algorithm.period is not None and moved
        self._first = round(options.sync_first * minibatches_per_epoch * epochs)  # minibatches of a worker
        self._done = 0  # likewise
        self._rule = None if options.qsr_alpha is None else QuadraticRule(options.qsr_alpha, rate_frames)
        self._round = algorithm.period  # minibatches of the present round, or of the last one
        self._optimizer, self._optimizer_state = optimizer, optimizer_state
        self._minibatches = self._index = 0  # since the last synchronization; synchronizations so far
        self._frames = np.zeros(group.num_workers, dtype=np.int64)
        self._loss = torch.zeros(len(group.local_workers), dtype=torch.float64, device=replicas.parameters.device)
        self._lr = 0.0
        # Moving average of the synchronized model (Tian et al., "Exponential moving average model in parallel speech
        # recognition training", 2017): the final model; it never goes back to the workers
        self._ema = replicas.parameters[0].clone() if options.ema else None
        self.measures = SyncMeasures(group)

    @property
    def sync_due(self) -> bool:
        """True when workers synchronize after the next minibatch; by the quadratic rule a guess before a round."""
        return self.synchronizes and self._minibatches + 1 == self._period

    @property
    def _is_first_part(self) -> bool:
        """True while the models are averaged after every minibatch."""
        return self._done < self._first

    @property
    def _period(self) -> int | None:
        if self._is_first_part:
            return 1
        return self.algorithm.period if self._rule is None else self._round

    @property
    def num_syncs(self) -> int:
        """Synchronizations so far; minibatches, where workers share a model."""
        return self._index

    def after_batch(
        self, replicas: Replicas, frames: np.ndarray, loss_sums: Tensor | None = None, lr: float = 0.0
    ) -> bool:
        """Follow a minibatch of every worker. Return whether they have synchronized after it.

        Args:
            frames: (K,) that each has trained on.
            loss_sums: (R,) of this process's workers, summed over their frames; None: no loss to compare.
            lr: learning rate per frame.

        Raises:
            DivergedError: no worker's model is valid.
        """
        if not self.synchronizes:
            if self._ema is not None:
                self._update_ema(replicas.parameters[0])
            self._index += 1
            return False
        if self._rule is not None and not self._minibatches and not self._is_first_part:
            assert self.algorithm.period is not None
            self._round = self._rule.round(self.algorithm.period, lr)
        self._minibatches += 1
        self._frames += frames
        if loss_sums is not None:
            idle = frames[list(self.group.local_workers)] == 0
            if idle.any():  # else a copy to the GPU is saved
                loss_sums = loss_sums.masked_fill(torch.from_numpy(idle).to(loss_sums.device), 0.0)
            self._loss += loss_sums
        self._lr = lr
        due = self._minibatches == self._period
        if due:
            self._synchronize(replicas)
        self._done += 1
        return due

    def model(self, replicas: Replicas) -> Tensor:
        """Return (P,) the model to be evaluated and exported, as of now, to be read.

        Between two synchronizations it is what workers would come to by one now.
        """
        if self._ema is not None:
            return self._ema
        info = self._info(replicas)
        if not info.valid.any():
            info = replace(info, valid=~info.valid)
        if self._is_first_part:
            return self.synchronizer.current_average(replicas, info)
        return self.synchronizer.global_model(replicas, info)

    def finish(self, replicas: Replicas) -> Tensor:
        """Return (P,) the final model, with what workers have learnt since the last synchronization."""
        if self.synchronizes:
            if self._minibatches:
                self._synchronize(replicas)
            self.synchronizer.flush(replicas)
        if self._optimizer is not None:
            self._optimizer.leave_lookahead()
        return self.model(replicas)

    def stats(self, timer: Timer | NoTimer) -> dict[str, Any]:
        """Return `SyncMeasures.stats` with the number of synchronizations, also logged. Collective."""
        sent, sums = self.synchronizer.bytes_per_worker, self.algorithm.sum_seconds
        return {"syncs": self.num_syncs} | self.measures.stats(timer, sums, sent)

    def finite_mask(self, replicas: Replicas) -> np.ndarray:
        """Return (K,) bool, whose model is finite. Collective."""
        return self._losses_and_finite(replicas)[1]

    def reassigned_worker(self, params: Tensor, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the (P,) model of a worker whose process was lost, and its tensors in `state_dict` by name.

        Args:
            params, state: (R, P) models and state of other workers right after a synchronization. What the algorithm
                has for each worker is a neighbour's.
        """
        model = self.algorithm.init_reassigned_worker(params, state.part("algorithm").shared)
        own = {name: tensor[0] for name, tensor in state.per_worker.items()}
        return model, own | {name: torch.zeros_like(own[name]) for name in ("residual", "loss_sum") if name in own}

    def _synchronize(self, replicas: Replicas) -> None:
        if self._optimizer is not None:
            self._optimizer.leave_lookahead()
        began = time.monotonic()
        info = self._info(replicas)
        came = time.monotonic()
        self.measures.waited_seconds += came - began
        self.measures.leave_out(info)
        if self._is_first_part:
            self.synchronizer.average(replicas, info)
            if self._done + 1 == self._first:  # the algorithm begins
                self.algorithm.start(replicas.parameters[0], self._context)
        else:
            self.synchronizer.synchronize(replicas, info)
        if self._ema is not None:
            # With overlap workers differ, and those left out are not restored yet; else all of them have the model now
            several = self.algorithm.has_separate_global_model or self.options.overlap
            differ = several and not self._is_first_part
            model = self.synchronizer.global_model(replicas, info) if differ else replicas.parameters[0]
            self._update_ema(model)
        self._update_optimizer(info.valid)
        self._index += 1
        self._minibatches = 0
        self._frames[:] = 0
        self._loss.zero_()
        self.measures.moved_seconds += time.monotonic() - came

    def _info(self, replicas: Replicas) -> SyncInfo:
        """Return the measurements of a synchronization now."""
        losses, finite = self._losses_and_finite(replicas)
        loss = np.divide(losses, self._frames, out=np.full(len(losses), np.nan), where=self._frames > 0)
        valid = valid_workers(self._frames, loss, finite, self.options.drop_worse)
        return SyncInfo(self._frames.copy(), loss, valid, self._lr, self._index)

    def _losses_and_finite(self, replicas: Replicas) -> tuple[np.ndarray, np.ndarray]:
        """Return (K,) losses summed since the last synchronization, and (K,) whether each model is finite."""
        own = list(self.group.local_workers)
        sums = torch.zeros(2, self.group.num_workers, dtype=torch.float64, device=self._loss.device)
        sums[0, own] = self._loss.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        # A sum may overflow where no number has; such a model is of no use either
        sums[1, own] = replicas.parameters.sum(dim=1).isfinite().double()
        self.group.transport.all_reduce(sums)
        losses, finite = sums.cpu().numpy()
        return losses, finite > 0

    def _update_ema(self, model: Tensor) -> None:
        """Take a synchronized model into the moving average: a plain mean of the first few, without the initial one."""
        assert self._ema is not None
        self._ema.lerp_(model, 1 - min(self.options.ema, self._index / (self._index + 1)))

    def _update_optimizer(self, valid: np.ndarray) -> None:
        if self._optimizer is None:
            return
        if self._optimizer_state == "reset":
            self._optimizer.forget()
        elif self._optimizer_state == "average":
            weights = valid.astype(float)
            for tensor in self._optimizer.moments():
                flat = tensor.flatten(1)
                flat.copy_(WeightedMean(self.group, "float32", flat).of(flat, weights))
        elif not valid.all():
            left_out = [r for r, worker in enumerate(self.group.local_workers) if not valid[worker]]
            for tensor in self._optimizer.moments():
                tensor[left_out] = 0.0  # it may be why the model is not valid
        self._optimizer.enter_lookahead()

    def state_dict(self) -> State:
        """Return the state, with the algorithm's; no copies."""
        state = self.synchronizer.state_dict()
        shared, per_worker = dict(state.shared), dict(state.per_worker)
        if self._ema is not None:
            shared["ema"] = self._ema
        if self.synchronizes:
            per_worker["loss_sum"] = self._loss
        values = {
            "minibatches": self._minibatches,
            "done": self._done,
            "round": self._round,
            "syncs": self._index,
            "frames": self._frames.tolist(),
            "left_out": self.measures.left_out.tolist(),
        }
        return State(shared, per_worker, values)

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned; ValueError when it is of another algorithm or size."""
        own, values = self.state_dict(), state.values
        copy_tensors(own.shared, state.shared, "algorithm")
        copy_tensors(own.per_worker, state.per_worker, "algorithm, of workers")
        self._minibatches, self._index, self._done = values["minibatches"], values["syncs"], values["done"]
        self._round = values["round"]
        self._frames[:] = values["frames"]
        self.measures.left_out[:] = values["left_out"]
