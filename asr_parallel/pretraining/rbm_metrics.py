"""Metrics of an RBM in training, and rules by which it has diverged or collapsed."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.parallel.state import State
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.pretraining.rbm_options import PretrainOptions
from asr_parallel.record.json_lines import JsonLines
from asr_parallel.record.log import logger
from asr_parallel.training.hooks import Hook, TrainingStep

LINES = "train.jsonl"
BLOCK_FRAMES = 4096  # measured at once
# Reconstruction error of a first layer that has diverged, at the end. Of normalised data that of no reconstruction at
# all is 1, and of an untrained layer of 4,096 units 3.4; layers that diverged were at 80 and more
HIGHEST_ERROR = 10.0
COLLAPSED = 1e-3  # every unit's mean activation within this of 0, or of 1


class Stack:
    """The finished RBMs, one of each layer for all workers, as the lower layers of a network."""

    def __init__(self, rbms: Sequence[StackedRbm]) -> None:
        self.rbms = list(rbms)

    def forward(self, spliced: Tensor) -> Tensor:
        """Return mean activations (R, B, H) of the topmost layer; without any layer, the input."""
        for rbm in self.rbms:
            spliced = rbm.hidden(spliced)
        return spliced


class RbmMetrics(Hook):
    """Writes lines of train.jsonl: reconstruction error, free energies, mean activation, weights.

    All processes measure alike, so that all stop when one has to; rank 0 writes.
    """

    collective_state = True

    def __init__(
        self,
        store: FrameStore,
        measured: np.ndarray,
        held_out: np.ndarray,
        stack: Stack,
        rbm: StackedRbm,
        group: WorkerGroup,
        options: PretrainOptions,
    ) -> None:
        """Take what to measure.

        Args:
            measured, held_out: rows of the store, for free energies.
            stack: the layers below.
            rbm: of this process's workers.
        """
        self._store, self._measured, self._held_out, self._stack = store, measured, held_out, stack
        self._group, self._options, self._layer = group, options, len(stack.rbms)
        self._spec, self._device, self._dtype = rbm.spec, rbm.parameters.device, rbm.dtype
        self._error_sum = torch.zeros((), dtype=torch.float64, device=rbm.parameters.device)
        self._struck = torch.zeros((), dtype=torch.int64, device=rbm.parameters.device)
        self._frames = self._unreported = 0
        self._lines: JsonLines | None = None
        self._report_frames: int | None = None

    def open(
        self, work: Path, frames: int, report_frames: int, last: int, global_model: Callable[[], StackedRbm]
    ) -> None:
        """Open train.jsonl, which keeps its lines of at most `frames` frames.

        Args:
            report_frames: between two lines.
            last: minibatches of a worker in the whole training.
            global_model: collective.
        """
        self._frames, self._report_frames, self._last, self._global_model = frames, report_frames, last, global_model
        if self._group.is_main:
            work.mkdir(parents=True, exist_ok=True)
            self._lines = JsonLines(work / LINES, lambda line: line["frames"] <= frames and frames > 0)

    def add(self, error_sum: Tensor, struck: Tensor) -> None:
        """Count one minibatch's reconstruction error, and how often the guard struck."""
        self._error_sum += error_sum
        self._struck += struck

    def on_batch(self, step: TrainingStep) -> None:
        self._frames = step.frames
        self._unreported += step.frames - step.before
        if step.crosses(self._report_frames):
            self._report(step.number)

    def finish(self, number: int) -> None:
        """Report what was not yet reported, after so many minibatches of a worker."""
        if self._unreported:
            self._report(number)

    def state_dict(self) -> State:
        error_sum, struck = self._group.transport.all_reduce_scalars([float(self._error_sum), int(self._struck)])
        return State(values={"unreported": self._unreported, "error_sum": error_sum, "struck": int(struck)})

    def load_state_dict(self, state: State) -> None:
        self._unreported = state.values["unreported"]
        if self._group.is_main:
            self._error_sum.fill_(state.values["error_sum"])
            self._struck.fill_(state.values["struck"])

    def _report(self, number: int) -> None:
        rbm = self._global_model()
        error_sum, struck = self._group.transport.all_reduce_scalars([float(self._error_sum), int(self._struck)])
        mean = self.mean(Stack([*self._stack.rbms, rbm]), self._held_out)
        if float(mean.max()) < COLLAPSED or float(mean.min()) > 1 - COLLAPSED:
            raise DivergedError(
                f"layer {self._layer + 1} collapsed: all {rbm.spec.hidden_dim} hidden units are "
                f"{'off' if float(mean.max()) < COLLAPSED else 'on'} after {self._frames} "
                f"frames (mean activation {float(mean.mean()):.2g})"
            )
        trained, unseen = (self._free_energy(rbm, rows) for rows in (self._measured, self._held_out))
        weight = rbm.parts.weight[0]
        line: dict[str, Any] = {
            "kind": "rbm",
            "layer": self._layer + 1,
            "frames": self._frames,
            "reconstruction_error": error_sum / (self._unreported * rbm.spec.visible_dim),
            "free_energy_train": trained,
            "free_energy_held_out": unseen,
            "free_energy_gap": unseen - trained,
            "mean_activation": float(mean.mean()),
            "weight_mean": float(weight.mean()),
            "weight_stddev": float(weight.std()),
            "weight_largest": float(weight.abs().max()),
            "guard_struck": int(struck),
            "momentum": self._options.momentum(self._frames),
        }
        wrong = [name for name, value in line.items() if isinstance(value, float) and not math.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"layer {self._layer + 1} diverged: {wrong[0]} is not finite after {self._frames} frames"
            )
        error = line["reconstruction_error"]
        if number == self._last and rbm.spec.gaussian and error > HIGHEST_ERROR:
            raise DivergedError(f"layer 1 diverged: reconstruction error {error:.4g} at the end, far above 1")
        if self._lines is not None:
            self._lines.append(line)
        logger.info(
            "layer %d, %d frames: reconstruction error %.4f, free-energy gap %.3g, mean activation %.3f",
            self._layer + 1, self._frames, error, line["free_energy_gap"], line["mean_activation"],
        )  # fmt: skip
        self._error_sum.zero_()
        self._struck.zero_()
        self._unreported = 0

    def _blocks(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Yield (1, B, spliced_dim) frames, block after block of rows."""
        for start in range(0, len(rows), BLOCK_FRAMES):
            spliced = torch.from_numpy(self._store.gather(rows[start : start + BLOCK_FRAMES]))
            yield spliced.to(self._device, self._dtype)[None]

    def mean(self, stack: Stack, rows: np.ndarray) -> Tensor:
        """Return (H,) float32, the mean activation of a stack's topmost layer."""
        sums = [stack.forward(x)[0].sum(dim=0, dtype=torch.float32) for x in self._blocks(rows)]
        return torch.stack(sums).sum(dim=0) / len(rows)

    def _free_energy(self, rbm: StackedRbm, rows: np.ndarray) -> float:
        """Return the mean free energy, nats a frame."""
        energies = [rbm.free_energy(self._stack.forward(x))[0] for x in self._blocks(rows)]
        return float(torch.cat(energies).double().mean())
