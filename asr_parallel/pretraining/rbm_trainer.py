"""Greedy pretraining of a stack of RBMs on a frame store, a layer at a time.

The data of layer k are the mean activations of the finished layers below, computed minibatch by minibatch.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import LostError, SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.pretraining.check_features import check_finite, check_normalised
from asr_parallel.pretraining.rbm_options import PretrainOptions, momentum_step
from asr_parallel.record.interrupt import Interrupted, StopRequest
from asr_parallel.record.json_lines import JsonLines
from asr_parallel.record.log import logger
from asr_parallel.training.checkpoint import CHECKPOINTS, Checkpoint, Checkpoints
from asr_parallel.training.randomness import counted_seed
from asr_parallel.training.shares import group_minibatches
from asr_parallel.training.stop import StopPoints

SAMPLE, INITIAL = 3, 4  # beside the uses of counters in training/minibatches.py
LINES = "train.jsonl"
BLOCK_FRAMES = 4096  # looked at in one go where nothing is trained
MEASURED_FRAMES = 10_000  # of training and held-out data each, for free energies and means
# Reconstruction error of a first layer that has diverged, at the end. Of normalised data that of no reconstruction at
# all is 1, and of an untrained layer of 4,096 units 3.4; layers that diverged were at 80 and more
HIGHEST_ERROR = 10.0
COLLAPSED = 1e-3  # every unit's mean activation within this of 0, or of 1


class Stack:
    """The finished RBMs, one of each layer for all workers, seen as the lower layers of a network."""

    def __init__(self, rbms: Sequence[StackedRbm]) -> None:
        self.rbms = list(rbms)

    def forward(self, spliced: Tensor) -> Tensor:
        """Mean activations (R, B, H) of the topmost layer; without any layer, what came in."""
        for rbm in self.rbms:
            spliced = rbm.hidden(spliced)
        return spliced


class LayerTrainer:
    """Trains one layer on top of a stack, from its first minibatch or from a checkpoint.

    Store, options and stack decide the result, bit for bit (on CPUs, with as many threads), also when it was resumed.
    With several workers the parameters meet as the algorithm says; each worker keeps its own momentum.
    """

    def __init__(
        self,
        store: FrameStore,
        options: PretrainOptions,
        stack: Stack,
        work: Path,
        transport: Transport | None = None,
    ) -> None:
        """Args:
            work: folder for checkpoints and the log.
            transport: of the processes that share the workers; all of them make and run a trainer alike.

        Raises:
            ValueError: too little data, or features (of the first layer) that are not normalised.
        """
        self.store, self.options, self.stack, self.work = store, options, stack, work
        self.group = group = WorkerGroup(options.workers, transport or SingleProcess())
        self.layer = len(stack.rbms)
        self.device = choose_device(options.device)
        dtype = choose_dtype(options.precision, self.device)
        train_part, held_out_part = store.split(options.held_out, options.held_out_by)
        rows, held_out = store.rows_of(train_part), store.rows_of(held_out_part)
        if self.layer == 0:
            check_finite(store, rows)
            check_normalised(store, _some(rows))
        self.measured, self.held_out = _some(rows)[: len(held_out)], _some(held_out)
        self.batches = group_minibatches(
            store, train_part, group, options.share_by, None, options.seed, _layer_seed(options.seed, self.layer),
            options.minibatch, None, dtype, self.device,
        )  # fmt: skip
        visible_dim = stack.rbms[-1].spec.hidden_dim if stack.rbms else store.spliced_dim
        spec = RbmSpec(visible_dim, options.hidden_dim, gaussian=not stack.rbms)
        self.rbm = StackedRbm(spec, len(group.local_workers), self.device, dtype)
        mean = None if spec.gaussian else self._mean(self.stack, self.measured)
        self.rbm.initialise(_layer_seed(options.seed, self.layer, INITIAL), mean)
        workers, constants = options.worker_options()
        # No loss is compared
        self.rounds = SyncScheduler(entry(workers.algorithm).cls(constants), group, self.rbm, workers, exact=True)
        self.epochs = options.epochs * (2 if spec.gaussian else 1)
        self.epoch, self.minibatch, self.frames, self.unreported = 0, 0, 0, 0
        self.error_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.struck = torch.zeros((), dtype=torch.int64, device=self.device)
        self.checkpoints = Checkpoints(work / CHECKPOINTS, transport=group.transport)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same layer; ValueError when it is of another."""
        state, own = checkpoint.state, [checkpoint.workers[worker] for worker in self.group.local_workers]
        tensors = {name: torch.stack([one[name] for one in own]) for name in own[0]}
        if state["layer"] != self.layer or tensors["parameters"].shape != self.rbm.parameters.shape:
            raise ValueError("checkpoint of another layer or of an RBM of other sizes")
        self.rbm.parameters.copy_(tensors.pop("parameters"))
        self.rbm.velocity.copy_(tensors.pop("velocity"))
        self.rbm.lr_scale.copy_(tensors.pop("lr_scale"))
        self.rbm.parameters_changed()
        self.rounds.load_state_dict(State(checkpoint.tensors, tensors, state["syncs"]))
        self.epoch, self.minibatch, self.frames = state["epoch"], state["minibatch"], checkpoint.frames
        self.unreported = state["unreported"]
        if self.group.is_main:
            self.error_sum.fill_(state["error_sum"])
            self.struck.fill_(state["struck"])

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        rbm = self.rbm
        tensors = {"parameters": rbm.parameters, "velocity": rbm.velocity, "lr_scale": rbm.lr_scale}
        syncs = self.rounds.state_dict()
        tensors |= syncs.per_worker
        workers = {
            worker: {name: tensor[r] for name, tensor in tensors.items()}
            for r, worker in enumerate(self.group.local_workers)
        }
        error_sum, struck = self.group.transport.all_reduce_scalars([float(self.error_sum), int(self.struck)])
        state: dict[str, Any] = {name: getattr(self, name) for name in ("layer", "epoch", "minibatch", "unreported")}
        state |= {"error_sum": error_sum, "struck": int(struck), "syncs": syncs.values}
        self.checkpoints.save(self.frames, syncs.shared, state, workers)

    def run(self, report_frames: int, checkpoint_frames: int) -> StackedRbm:
        """Train to the end and return the RBM that all workers stand for, as a single replica.

        Raises:
            ValueError: the layer has diverged or collapsed; the last checkpoint stays.
            Interrupted: by a signal, which any of the processes got; after a checkpoint, if all of them are there.
        """
        with StopRequest() as request:
            try:
                return self._run(
                    StopPoints(request, self.group.transport, self.rounds, self.device),
                    report_frames,
                    checkpoint_frames,
                )
            except LostError as error:
                if request.number:  # which has reached the others too
                    raise Interrupted(request.number) from error
                raise

    def _run(self, points: StopPoints, report_frames: int, checkpoint_frames: int) -> StackedRbm:
        lines = None
        if self.group.is_main:
            self.work.mkdir(parents=True, exist_ok=True)
            lines = JsonLines(self.work / LINES, lambda line: line["frames"] <= self.frames and self.frames > 0)
        if not self.frames:  # a lower learning rate may begin here, too
            self.save()
        for epoch in range(self.epoch, self.epochs):
            for spliced, _ in self.batches.epoch(epoch, self.minibatch):
                before = self.frames
                met = self._step(spliced)
                if self.frames // report_frames > before // report_frames:
                    self._report(lines)
                due = points.due(epoch * self.batches.minibatches_per_epoch + self.minibatch, met)
                if due or self.frames // checkpoint_frames > before // checkpoint_frames:
                    self._model()
                    self.save()
                points.stop()
            self.epoch, self.minibatch = epoch + 1, 0
        if self.unreported:
            self._report(lines)
        return self._alone(self.rounds.finish(self.rbm))

    def _step(self, spliced: Tensor) -> bool:
        """One minibatch of every worker. Returns whether they have met after it."""
        options, rbm, before = self.options, self.rbm, self.frames
        trained = self.batches.frames(self.minibatch, self.minibatch + 1)
        rate = options.rate_gaussian if rbm.spec.gaussian else options.rate_bernoulli
        rate *= 1 - options.scheduled_momentum(before)
        phases = rbm.contrast(self.stack.forward(spliced), self._seeds())
        step = rbm.update(phases, rate, options.momentum(before), options.l2, self.batches.active(self.minibatch))
        self.error_sum += step.error_sum.double().sum()
        self.struck += step.struck.sum()
        met = self.rounds.after_batch(rbm, trained)
        self.minibatch += 1
        self.frames += int(trained.sum())
        self.unreported += self.frames - before
        if before == 0 or momentum_step(self.frames) > momentum_step(before):
            rbm.restore_rate()
        return met

    def _seeds(self) -> list[int]:
        """Of the samples of this minibatch."""
        counters = (self.layer, self.epoch, self.minibatch)
        each = (counted_seed(self.options.seed, SAMPLE, worker, *counters) for worker in self.group.local_workers)
        return [int(seed.generate_state(1, np.uint64)[0]) for seed in each]

    def _model(self) -> StackedRbm:
        """The RBM that all workers stand for; ValueError when a parameter of it is not finite."""
        rbm = self._alone(self.rounds.model(self.rbm))
        if not bool(rbm.parameters.isfinite().all()):
            raise DivergedError(
                f"layer {self.layer + 1} diverged: a parameter is not finite after {self.frames} frames"
            )
        return rbm

    def _alone(self, parameters: Tensor) -> StackedRbm:
        """(P,) parameters as an RBM of one replica."""
        one = StackedRbm(self.rbm.spec, 1, self.device, self.rbm.dtype)
        one.parameters[0].copy_(parameters)
        one.parameters_changed()
        return one

    def _report(self, lines: JsonLines | None) -> None:
        """A line: reconstruction error a dimension, free energies, mean activation, weights, the guard's strikes.

        All processes measure alike, so that all stop when one has to; rank 0 has the lines.
        """
        rbm = self._model()
        error_sum, struck = self.group.transport.all_reduce_scalars([float(self.error_sum), int(self.struck)])
        mean = self._mean(Stack([*self.stack.rbms, rbm]), self.held_out)
        if float(mean.max()) < COLLAPSED or float(mean.min()) > 1 - COLLAPSED:
            raise DivergedError(
                f"layer {self.layer + 1} collapsed: all {rbm.spec.hidden_dim} hidden units are "
                f"{'off' if float(mean.max()) < COLLAPSED else 'on'} after {self.frames} "
                f"frames (mean activation {float(mean.mean()):.2g})"
            )
        trained, unseen = (self._free_energy(rbm, rows) for rows in (self.measured, self.held_out))
        weight = rbm.parts.weight[0]
        line: dict[str, Any] = {
            "kind": "rbm",
            "layer": self.layer + 1,
            "frames": self.frames,
            "reconstruction_error": error_sum / (self.unreported * rbm.spec.visible_dim),
            "free_energy_train": trained,
            "free_energy_held_out": unseen,
            "free_energy_gap": unseen - trained,
            "mean_activation": float(mean.mean()),
            "weight_mean": float(weight.mean()),
            "weight_stddev": float(weight.std()),
            "weight_largest": float(weight.abs().max()),
            "guard_struck": int(struck),
            "momentum": self.options.momentum(self.frames),
        }
        wrong = [name for name, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
        if wrong:
            raise DivergedError(f"layer {self.layer + 1} diverged: {wrong[0]} is not finite after {self.frames} frames")
        an_epoch, error = self.batches.minibatches_per_epoch, line["reconstruction_error"]
        ended = self.epoch * an_epoch + self.minibatch == self.epochs * an_epoch
        if ended and rbm.spec.gaussian and error > HIGHEST_ERROR:
            raise DivergedError(f"layer 1 diverged: reconstruction error {error:.4g} at the end, far above 1")
        if lines is not None:
            lines.append(line)
        logger.info(
            "layer %d, %d frames: reconstruction error %.4f, free-energy gap %.3g, mean activation %.3f",
            self.layer + 1, self.frames, line["reconstruction_error"], line["free_energy_gap"], line["mean_activation"],
        )  # fmt: skip
        self.error_sum.zero_()
        self.struck.zero_()
        self.unreported = 0

    def _blocks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """(1, B, spliced_dim) of the products' dtype, block after block of rows."""
        for start in range(0, len(rows), BLOCK_FRAMES):
            spliced = torch.from_numpy(self.store.gather(rows[start : start + BLOCK_FRAMES]))
            yield spliced.to(self.device, choose_dtype(self.options.precision, self.device))[None]

    def _mean(self, stack: Stack, rows: np.ndarray) -> Tensor:
        """(H,) float32: mean activation of a stack's topmost layer."""
        sums = [stack.forward(x)[0].sum(dim=0, dtype=torch.float32) for x in self._blocks(rows)]
        return torch.stack(sums).sum(dim=0) / len(rows)

    def _free_energy(self, rbm: StackedRbm, rows: np.ndarray) -> float:
        """Mean, nats a frame."""
        energies = [rbm.free_energy(self.stack.forward(x))[0] for x in self._blocks(rows)]
        return float(torch.cat(energies).double().mean())


def _layer_seed(seed: int, layer: int, use: int = SAMPLE) -> int:
    return int(counted_seed(seed, use, layer).generate_state(1, np.uint32)[0])


def _some(rows: np.ndarray) -> np.ndarray:
    """Up to MEASURED_FRAMES rows, spread evenly."""
    return rows[:: max(1, -(-len(rows) // MEASURED_FRAMES))]
