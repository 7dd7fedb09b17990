"""Optimisers behind one small interface: given every layer's input and derivative, move the parameters of all replicas.

Gradients are summed over the minibatch and learning rates are per frame. The change of a minibatch is written into one
flat buffer of the parameters' shape and limited there, by any optimiser alike (MaxChange). A replica whose
change is not finite keeps its parameters and its optimiser's state; how often that happened is counted. Nothing here
waits for a GPU.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.blas import FAST_TYPES, multiply
from asr_parallel.nnet.kernels import column_sums
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.products import Add, product, sums_of_squares
from asr_parallel.nnet.spec import layout
from asr_parallel.nnet.stacked import Backward, Layers, StackedNetwork

Tensors = dict[str, Tensor]

# Initial effective learning rates per frame
NNET1_RATE = 0.008  # Kaldi steps/nnet/train.sh, sigmoids with plain SGD
NNET3_RATE = 3e-4  # Kaldi steps/nnet3/train_dnn.py


class Optimizer(ABC):
    """Moves a stacked network's parameters.

    takes_momentum: whether it has a velocity, and `momentum` as an argument.
    rate_per_frame: whether the learning rate is of a gradient summed over frames; else it is per minibatch.
    estimates_fisher: whether its state is estimates of the data's Fisher matrices, which need some minibatches.
    skipped: (R,) int64, minibatches whose change was not finite and which were therefore left out.
    max_change_scale: (R,) float32, length of the last change over the one without limits; NaN where it was left out.
    """

    takes_momentum: ClassVar[bool] = False
    rate_per_frame: ClassVar[bool] = True
    estimates_fisher: ClassVar[bool] = False

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None, add: Add | None = None) -> None:
        """Start with a state of zeros.

        Args:
            network: whose parameters are moved.
            max_change: limits; None: none.
            add: for a network that several processes have in common, each with frames of its own; for one replica.
        """
        self.network = network
        self.max_change = max_change
        self.add = add
        self.skipped = torch.zeros(network.replicas, dtype=torch.int64, device=network.device)
        self.max_change_scale = torch.full((network.replicas,), torch.nan, device=network.device)
        self._spans = [(p.start, p.end) for p in layout(network.spec)]
        self._change = Layers.zeros(network.spec, network.replicas, network.device)
        self._rounded: dict[int, Tensor] = {}  # a layer's product in the products' type

    @classmethod
    def default_rate(cls, nonlinearity: str) -> float:
        """Return the initial effective learning rate where none is given."""
        return NNET1_RATE if nonlinearity == "sigmoid" else NNET3_RATE

    def step(
        self, minibatch: Backward, learning_rate: float, active: Tensor | None = None, frames: int | None = None
    ) -> None:
        """Apply one minibatch.

        Args:
            minibatch: what `StackedNetwork.backward` returned; its tensors may be overwritten.
            learning_rate: per frame.
            active: (R,) bool; replicas that are not have frames of NaN on purpose, and those left out do not count.
            frames: of all processes, required with `add`. Without it a replica's frames are the rows of the minibatch,
                whatever is given: other replicas and processes have estimates of their own.
        """
        own_frames = minibatch.derivatives[-1].shape[1]
        if self.add is None:
            frames = own_frames
        assert frames is not None and frames >= own_frames, (frames, own_frames)
        factors = self._gradient(minibatch.inputs, minibatch.derivatives, frames)
        if self.add is not None:
            self.add(self._change.flat)
        lengths = self._lengths(factors)
        finite = lengths.isfinite().all(dim=1)
        self.skipped += ~finite if active is None else ~finite & active
        # A masked fill is a pass over the buffer; on a CPU it is cheaper to look first.
        if self._change.flat.is_cuda or not bool(finite.all()):
            self._change.flat.masked_fill_(~finite[:, None], 0.0)
            factors = factors.masked_fill(~finite[:, None], 0.0)
            lengths = lengths.masked_fill(~finite[:, None], 0.0)
        directed = self._direct(factors, finite)
        step = learning_rate * directed.double()  # in float64 a high rate does not overflow before it is limited
        kept = torch.ones_like(step[:, 0])
        if self.max_change is not None:
            if directed is not factors:  # else it is the gradient, whose lengths are known
                lengths = self._lengths(directed)
            lengths = learning_rate * lengths.double()
            scale = self.max_change.scale(lengths)
            whole = torch.linalg.vector_norm(lengths, dim=1)
            kept = torch.where(whole > 0, torch.linalg.vector_norm(lengths * scale, dim=1) / whole, 1.0)
            step = step * scale
        self.max_change_scale = kept.float().masked_fill(~finite, torch.nan)
        factors = step.float()
        self._go(self._change.flat, factors)
        self._moved(factors, finite)
        if self.network.device.type != "cpu":
            self.network.parameters_changed()
        self.network.constrain()

    def _go(self, direction: Tensor, factors: Tensor) -> None:
        """Go against a (R, P) direction, times (R, L) factors of the layers."""
        self.network.subtract(direction, factors, self._spans)

    def _lengths(self, factors: Tensor) -> Tensor:
        """Return (R, L) Euclidean lengths of the layers' changes in the buffer, times their factors."""
        squares = sums_of_squares([(self._change.flat[:, start:end],) for start, end in self._spans])
        return squares.view(len(self._spans), -1).mT.sqrt() * factors

    def _gradient(self, inputs: list[Tensor], derivatives: list[Tensor], frames: int) -> Tensor:
        """Write the gradient, preconditioned or not, of this process's frames into the buffer.

        Args:
            inputs: of every affine component.
            derivatives: by the output of every affine component.
            frames: that a replica's sums are over: of this process, with `add` of all processes.

        Returns:
            (R, L) factors it is to be taken with.
        """
        for k, (bias, d) in enumerate(zip(self._change.biases, derivatives, strict=True)):
            self._weight_gradient(k, inputs[k], d)
            if d.device.type == "cpu":
                column_sums(bits(d), np.ones((*d.shape[:2], 1), dtype=np.float32), bias.numpy())
            else:
                torch.sum(d, dim=1, dtype=torch.float32, out=bias)
        return self._change.flat.new_ones(self.network.replicas, len(inputs))

    def _weight_gradient(self, k: int, x: Tensor, d: Tensor) -> None:
        """Write d^T x of affine layer k into the buffer."""
        weight = self._change.weights[k]
        if d.device.type == "cpu" and d.dtype != weight.dtype and d.dtype in FAST_TYPES:
            for of_d, of_x, out in zip(bits(d), bits(x), weight.numpy(), strict=True):
                multiply(of_d.T, of_x, out)
            return
        if d.dtype != weight.dtype and k not in self._rounded:
            self._rounded[k] = torch.empty_like(weight, dtype=d.dtype)
        product(d.mT, x, out=weight, rounded=self._rounded.get(k))

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        """Turn the gradient in the buffer into the direction to go against; keep state of finite replicas alone.

        Returns (R, L) factors that the direction is to be taken with; the same object when there is nothing to turn.
        """
        return factors

    def _moved(self, factors: Tensor, finite: Tensor) -> None:
        """Follow a step of the parameters against the direction in the buffer, times these (R, L) factors."""
        return

    def moments(self) -> list[Tensor]:
        """Return state of which workers may form a mean, (R, ...) each, to be written to."""
        return []

    def forget(self) -> None:
        """Start anew, as if no minibatch had been seen; `skipped` stays."""
        for tensor in self._tensors().values():
            tensor.zero_()

    def leave_lookahead(self) -> None:
        """Move parameters that are held where the next gradient is taken to where the model is."""
        return

    def enter_lookahead(self) -> None:
        """Undo leave_lookahead."""
        return

    @abstractmethod
    def _tensors(self) -> Tensors:
        """Return all state beside `skipped`, (R, ...) each, by name."""

    def state(self) -> Tensors:
        """Return copies of all that a later `restore` needs to go on as if nothing had happened."""
        return {name: t.clone() for name, t in {"skipped": self.skipped, **self._tensors()}.items()}

    def restore(self, state: Tensors) -> None:
        """Take over what `state` gave; ValueError when it is of another optimiser or network."""
        mine = {"skipped": self.skipped, **self._tensors()}
        if {n: t.shape for n, t in mine.items()} != {n: t.shape for n, t in state.items()}:
            raise ValueError(f"optimiser state of another kind or size: {sorted(state)}; expected {sorted(mine)}")
        self.skipped.copy_(state["skipped"])
        self._take(state)

    def _take(self, state: Tensors) -> None:
        """Take over the state of the right names and shapes."""
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])
