"""Greedy pretraining of a stack of RBMs on a frame store, a layer at a time.

The data of layer k are the mean activations of the finished layers below, computed minibatch by minibatch.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.rbm import WEIGHT_L2, RbmSpec, StackedRbm
from asr_parallel.record.json_lines import JsonLines
from asr_parallel.record.log import logger
from asr_parallel.training.checkpoint import Checkpoint, Checkpoints
from asr_parallel.training.minibatches import Minibatches, counted_seed
from asr_parallel.training.precision import PRECISIONS, choose_device, products_dtype

SAMPLE, INITIAL = 3, 4  # beside the uses of counters in training/minibatches.py
LINES = "train.jsonl"
BLOCK_FRAMES = 4096  # looked at in one go where nothing is trained
MEASURED_FRAMES = 10_000  # of training and held-out data each, for free energies and means
FEWEST_FRAMES = 1000  # below this a dimension's variance says too little to refuse it

# Kaldi nnetbin/rbm-train-cd1-frmshuff.cc
MOMENTUM_STEPS = 40
MOMENTUM_STEP_FRAMES = 500_000
# A dimension of globally normalised features has variance 1; outside these it was not normalised
SMALLEST_VARIANCE, LARGEST_VARIANCE = 0.25, 4.0
COLLAPSED = 1e-3  # every unit's mean activation within this of 0, or of 1


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """All but the data. with_bug: Kaldi's momentum_max in every minibatch but the first, whatever the ramp says."""

    layers: int = 6  # Kaldi steps/nnet/pretrain_dbn.sh, this and the next four
    hidden_dim: int = 2048
    epochs: int = 1  # the first, Gaussian layer gets twice as many
    rate_gaussian: float = 0.01
    rate_bernoulli: float = 0.4
    l2: float = WEIGHT_L2
    momentum_min: float = 0.5  # Kaldi nnet/nnet-trnopts.h, this and the next two
    momentum_max: float = 0.9
    with_bug: bool = True
    minibatch: int = 100  # Kaldi nnetbin/rbm-train-cd1-frmshuff.cc
    held_out: float = 0.1
    held_out_by: str = "utterance"
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"layers": 1, "hidden_dim": 1, "epochs": 1, "minibatch": 2, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: expected a whole number of at least {least}")
        for name in ("rate_gaussian", "rate_bernoulli"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: expected a number above 0")
        if not 0 <= self.l2 < math.inf:
            raise ValueError(f"l2 {self.l2}: expected a number of at least 0")
        if not 0 <= self.momentum_min <= self.momentum_max < 1:
            raise ValueError(
                f"momentum_min {self.momentum_min}, momentum_max {self.momentum_max}: expected 0 <= min <= max < 1"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}; expected one of {', '.join(PRECISIONS)}")

    def scheduled_momentum(self, frames: int) -> float:
        """The ramp after `frames` frames of the layer, over all workers; the rate is scaled by 1 minus it."""
        share = min(1.0, frames // MOMENTUM_STEP_FRAMES / MOMENTUM_STEPS)
        return self.momentum_min + share * (self.momentum_max - self.momentum_min)

    def momentum(self, frames: int) -> float:
        """The momentum that is applied."""
        return self.momentum_max if self.with_bug and frames > 0 else self.scheduled_momentum(frames)


class Stack:
    """The finished RBMs of R workers, seen as the lower layers of a network."""

    def __init__(self, rbms: Sequence[StackedRbm]) -> None:
        self.rbms = list(rbms)

    def forward(self, spliced: Tensor) -> Tensor:
        """Mean activations (R, B, H) of the topmost layer; without any layer, what came in."""
        for rbm in self.rbms:
            spliced = rbm.hidden(spliced)
        return spliced


class LayerTrainer:
    """Trains one layer on top of a stack, from its first minibatch or from a checkpoint.

    Store, options, stack and workers decide the result, bit for bit, also when it was resumed.
    """

    def __init__(
        self,
        store: FrameStore,
        options: PretrainOptions,
        stack: Stack,
        work: Path,
        workers: Sequence[int] = (0,),
        shares: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Args:
            shares: rows of the store of each worker; by default all training rows, for a single worker.

        Raises:
            ValueError: too little data, or features (of the first layer) that are not normalised.
        """
        self.store, self.options, self.stack, self.work, self.workers = store, options, stack, work, list(workers)
        self.layer = len(stack.rbms)
        self.device = choose_device(options.device)
        dtype = products_dtype(options.precision, self.device)
        train_part, held_out_part = store.split(options.held_out, options.held_out_by, options.seed)
        rows, held_out = store.rows_of(train_part), store.rows_of(held_out_part)
        if self.layer == 0:
            check_normalised(store, _some(rows))
        shares = [rows] if shares is None else shares
        self.batches = Minibatches(
            store,
            shares,
            self.workers,
            options.minibatch,
            _layer_seed(options.seed, self.layer),
            None,
            dtype,
            self.device,
        )
        self.measured, self.held_out = _some(rows)[: len(held_out)], _some(held_out)
        spec = RbmSpec(
            stack.rbms[-1].spec.hidden_dim if stack.rbms else store.spliced_dim, options.hidden_dim, not stack.rbms
        )
        self.rbm = StackedRbm(spec, len(self.workers), self.device, dtype)
        mean = None if spec.gaussian else self._mean(self.stack, self.measured)
        self.rbm.initialise(_layer_seed(options.seed, self.layer, INITIAL), mean)
        self.epochs = options.epochs * (2 if spec.gaussian else 1)
        self.epoch, self.minibatch, self.frames = 0, 0, 0
        self.error_sum, self.struck, self.unreported = 0.0, 0, 0
        self.checkpoints = Checkpoints(work / "checkpoints")

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same layer; ValueError when it is of another."""
        tensors, state = checkpoint.tensors, checkpoint.state
        if state["layer"] != self.layer or tensors["parameters"].shape != self.rbm.parameters.shape:
            raise ValueError("checkpoint of another layer or of an RBM of other sizes")
        self.rbm.parameters.copy_(tensors["parameters"])
        self.rbm.velocity.copy_(tensors["velocity"])
        self.rbm.rate_factor.copy_(tensors["rate_factor"])
        self.rbm.parameters_changed()
        self.epoch, self.minibatch, self.frames = state["epoch"], state["minibatch"], checkpoint.frames
        self.error_sum, self.struck, self.unreported = state["error_sum"], state["struck"], state["unreported"]

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        rbm = self.rbm
        tensors = {"parameters": rbm.parameters, "velocity": rbm.velocity, "rate_factor": rbm.rate_factor}
        names = ("layer", "epoch", "minibatch", "error_sum", "struck", "unreported")
        self.checkpoints.save(self.frames, tensors, {name: getattr(self, name) for name in names})

    def run(self, report_frames: int, checkpoint_frames: int) -> StackedRbm:
        """Train to the end and return the RBM.

        Raises:
            ValueError: a parameter is no longer finite, or the layer has collapsed.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        lines = JsonLines(self.work / LINES, lambda line: line["frames"] <= self.frames and self.frames > 0)
        for epoch in range(self.epoch, self.epochs):
            for spliced, _ in self.batches.epoch(epoch, self.minibatch):
                before = self.frames
                self._step(spliced)
                if self.frames // report_frames > before // report_frames:
                    self._report(lines)
                if self.frames // checkpoint_frames > before // checkpoint_frames:
                    self.save()
            self.epoch, self.minibatch = epoch + 1, 0
        if self.unreported:
            self._report(lines)
        return self.rbm

    def _step(self, spliced: Tensor) -> None:
        options, rbm = self.options, self.rbm
        scheduled = options.scheduled_momentum(self.frames)
        if scheduled != options.scheduled_momentum(max(0, self.frames - options.minibatch * len(self.workers))):
            rbm.restore_rate()
        rate = (options.rate_gaussian if rbm.spec.gaussian else options.rate_bernoulli) * (1 - scheduled)
        phases = rbm.contrast(self.stack.forward(spliced), self._uniform())
        self.error_sum += float(phases.error_sum.sum())
        self.struck += int(rbm.update(phases, rate, options.momentum(self.frames), options.l2).sum())
        self.minibatch += 1
        self.frames += options.minibatch * len(self.workers)
        self.unreported += options.minibatch * len(self.workers)

    def _uniform(self) -> Tensor:
        """Random numbers (R, B, H) from [0, 1) of this minibatch."""
        shape = (self.options.minibatch, self.rbm.spec.hidden_dim)
        drawn = np.empty((len(self.workers), *shape), dtype=np.float32)
        for own, worker in zip(drawn, self.workers, strict=True):
            counters = (SAMPLE, self.layer, worker, self.epoch, self.minibatch)
            np.random.default_rng(counted_seed(self.options.seed, *counters)).random(dtype=np.float32, out=own)
        return torch.from_numpy(drawn).to(self.device)

    def _report(self, lines: JsonLines) -> None:
        """A line: reconstruction error a dimension, free energies, mean activation, weights, the guard's strikes."""
        rbm, spec = self.rbm, self.rbm.spec
        if not bool(rbm.parameters.isfinite().all()):
            raise ValueError(
                f"layer {self.layer + 1} diverged: a parameter is not finite after {self.frames} frames; try a lower "
                f"learning rate. {self.work} keeps the last good checkpoint"
            )
        mean = self._mean(Stack([*self.stack.rbms, rbm]), self.held_out)
        if float(mean.max()) < COLLAPSED or float(mean.min()) > 1 - COLLAPSED:
            raise ValueError(
                f"layer {self.layer + 1} collapsed: all {spec.hidden_dim} hidden units are "
                f"{'off' if float(mean.max()) < COLLAPSED else 'on'} after {self.frames} "
                f"frames (mean activation {float(mean.mean()):.2g}); try a lower learning rate"
            )
        trained, unseen = (self._free_energy(rows) for rows in (self.measured, self.held_out))
        weight = rbm.parts.weight[0]
        line: dict[str, Any] = {
            "kind": "rbm",
            "layer": self.layer + 1,
            "frames": self.frames,
            "reconstruction_error": self.error_sum / (self.unreported * spec.visible_dim),
            "free_energy_train": trained,
            "free_energy_held_out": unseen,
            "free_energy_gap": unseen - trained,
            "mean_activation": float(mean.mean()),
            "weight_mean": float(weight.mean()),
            "weight_stddev": float(weight.std()),
            "weight_largest": float(weight.abs().max()),
            "guard_struck": self.struck,
            "momentum": self.options.momentum(self.frames),
        }
        lines.append(line)
        logger.info(
            "layer %d, %d frames: reconstruction error %.4f, free-energy gap %.3g, mean activation %.3f",
            self.layer + 1, self.frames, line["reconstruction_error"], line["free_energy_gap"], line["mean_activation"],
        )  # fmt: skip
        self.error_sum, self.struck, self.unreported = 0.0, 0, 0

    def _blocks(self, rows: np.ndarray) -> list[Tensor]:
        parts = (rows[start : start + BLOCK_FRAMES] for start in range(0, len(rows), BLOCK_FRAMES))
        return [torch.from_numpy(self.store.gather(part)).to(self.device, self.rbm.dtype)[None] for part in parts]

    def _mean(self, stack: Stack, rows: np.ndarray) -> Tensor:
        """(H,) float32: mean activation of the first worker's topmost layer."""
        first = len(self.workers)
        sums = [stack.forward(x.expand(first, -1, -1))[0].sum(dim=0, dtype=torch.float32) for x in self._blocks(rows)]
        return torch.stack(sums).sum(dim=0) / len(rows)

    def _free_energy(self, rows: np.ndarray) -> float:
        """Mean of the first worker, nats a frame."""
        first = len(self.workers)
        energies = [self.rbm.free_energy(self.stack.forward(x.expand(first, -1, -1)))[0] for x in self._blocks(rows)]
        return float(torch.cat(energies).double().mean())


def check_normalised(store: FrameStore, rows: np.ndarray) -> None:
    """Refuse features that a Gaussian RBM of unit variance is not for.

    Raises:
        ValueError: dimensions that are not finite, constant, or of a variance far from 1, with their numbers.
    """
    frames = store.frames[rows].astype(np.float64)
    variance = frames.var(axis=0)
    wrong = {
        "not finite": ~np.isfinite(variance),
        "constant": variance < 1e-6,
        f"of a variance outside {SMALLEST_VARIANCE} to {LARGEST_VARIANCE}": (variance < SMALLEST_VARIANCE)
        | (variance > LARGEST_VARIANCE),
    }
    for what, bad in wrong.items():
        if bad.any() and (len(rows) >= FEWEST_FRAMES or what != list(wrong)[-1]):
            shown = ", ".join(f"{d} ({variance[d]:.3g})" for d in np.flatnonzero(bad)[:10])
            raise ValueError(
                f"{int(bad.sum())} of {store.dim} feature dimensions are {what}: {shown}; an RBM needs features that "
                "are normalised in mean and variance"
            )


def identity_of(options: PretrainOptions, layer: int) -> dict[str, Any]:
    """The options that decide a layer: how many come on top of it does not."""
    return {name: value for name, value in asdict(options).items() if name != "layers"} | {"layer": layer}


def _layer_seed(seed: int, layer: int, use: int = SAMPLE) -> int:
    return int(counted_seed(seed, use, layer).generate_state(1, np.uint32)[0])


def _some(rows: np.ndarray) -> np.ndarray:
    """Up to MEASURED_FRAMES rows, spread evenly."""
    return rows[:: max(1, -(-len(rows) // MEASURED_FRAMES))]
