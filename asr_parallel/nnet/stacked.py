"""R networks of one list of components in one flat buffer, forward and backward by hand.

There is no autograd: an optimiser is given each affine component's input and derivative, which natural gradient needs
as they are and from which every other method makes the gradient in one product.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.components import Affine, Binding, Component, Memory, Positions
from asr_parallel.nnet.fused import BiasRelu, fusable
from asr_parallel.nnet.kernels import descend, descend_and_round
from asr_parallel.nnet.objectives import CrossEntropy, Objective, Soft
from asr_parallel.nnet.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Layers:
    """The affine components of a flat buffer (R, P): weights (R, out, in) and biases (R, out) share its memory."""

    flat: Tensor
    weights: list[Tensor]
    biases: list[Tensor]

    @classmethod
    def of(cls, spec: NetworkSpec, flat: Tensor) -> "Layers":
        """Return views of a buffer."""
        assert flat.shape[1] == spec.num_parameters
        views = [placed.views(flat) for placed in spec.placed_components if isinstance(placed.component, Affine)]
        return cls(flat, [own["weight"] for own in views], [own["bias"] for own in views])

    @classmethod
    def zeros(cls, spec: NetworkSpec, replicas: int, device: torch.device | str = "cpu") -> "Layers":
        """Return views of a new buffer of zeros."""
        return cls.of(spec, torch.zeros(replicas, spec.num_parameters, device=device))


@dataclass(frozen=True, slots=True)
class Backward:
    """A minibatch as the optimiser needs it: each affine component's input and the derivative by its output.

    inputs (R, rows, in) and derivatives (R, rows, out), of the products' dtype, from the first to the output layer.
    Rows are frames, or frames times points in time. loss_sum, correct: see nnet/objectives.py.
    """

    inputs: list[Tensor]
    derivatives: list[Tensor]
    loss_sum: Tensor
    correct: Tensor


class Workspace:
    """Memory that every minibatch uses again, a tensor for each name and component: new pages each time are slow."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, str], Tensor] = {}

    def of(self, k: int) -> Memory:
        """Return the memory of component k."""

        def take(name: str, like: Tensor, rows: int, columns: int) -> Tensor:
            shape = (like.shape[0], rows, columns)
            found = self._tensors.get((k, name))
            if found is None or found.shape != shape:
                found = self._tensors[k, name] = like.new_empty(shape)
            return found

        return take


def new_memory(name: str, like: Tensor, rows: int, columns: int) -> Tensor:
    """Return memory that nothing else uses."""
    return like.new_empty(like.shape[0], rows, columns)


@dataclass(frozen=True, slots=True)
class _Step:
    """A component, or one that stands for several, with its tensors.

    place: its place in the list of components. trained: whether it is affine.
    """

    component: Component | BiasRelu
    tensors: Mapping[str, Tensor]
    place: int
    trained: bool


class StackedNetwork:
    """R replicas of a network; `parameters` (R, P) float32 holds all of their numbers.

    dtype is that of activations and products: float32, or bfloat16 with a copy of the parameters made once a step.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        replicas: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec = spec
        self.dtype = dtype
        flat = torch.zeros(replicas, spec.num_parameters, device=device)
        self._positions = spec.positions(2 * spec.context + 1, flat.device)
        self._constrained = [
            one for one in spec.placed_components if type(one.component).constrain is not Component.constrain
        ]
        self._bind(flat, flat if dtype == torch.float32 else torch.zeros_like(flat, dtype=dtype))

    def _bind(self, flat: Tensor, working: Tensor) -> None:
        """Use these buffers: the parameters, and their copy in the products' type."""
        self.layers = Layers.of(self.spec, flat)
        self._working = working
        self._workspace = Workspace()
        self._steps: list[_Step] = []
        fused = 0  # components that the step before does already
        for k, placed in enumerate(self.spec.placed_components):
            if fused:
                fused -= 1
                continue
            views, own = placed.views(flat), placed.views(working)
            tensors = own | {name: views[name] for name in placed.component.buffers(placed.input_dim)}
            self._steps.append(_Step(placed.component, tensors, k, isinstance(placed.component, Affine)))
            if flat.device.type == "cpu":
                following, fused = fusable(self.spec.components[k:])
                if following is not None:
                    self._steps.append(_Step(following, {"bias": tensors.pop("bias")}, k + 1, trained=False))

    @property
    def parameters(self) -> Tensor:
        """The flat buffer, (R, P) float32. After writing to it, call `parameters_changed`."""
        return self.layers.flat

    @property
    def replicas(self) -> int:
        """R, the number of networks."""
        return self.parameters.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.parameters.device

    def initialise(self, *seeds: int) -> "StackedNetwork":
        """Draw initial parameters, with one seed the same in every replica, else with a seed each; return itself."""
        assert len(seeds) in (1, self.replicas)
        one = torch.zeros(1, self.spec.num_parameters)
        for n, seed in enumerate(seeds):
            random = torch.Generator().manual_seed(seed)
            for placed in self.spec.placed_components:
                placed.component.initialise({name: view[0] for name, view in placed.views(one).items()}, random)
            self.parameters[n:].copy_(one)  # broadcast over the replicas that are left
        self.parameters_changed()
        return self

    def parameters_changed(self) -> None:
        """Update what depends on `parameters`, which was written to."""
        if self._working is not self.parameters:
            self._working.copy_(self.parameters)

    def constrain(self) -> None:
        """Apply the components' constraints to `parameters`."""
        for placed in self._constrained:
            placed.component.constrain(placed.views(self.parameters))
        if self._constrained:
            self.parameters_changed()

    def subtract(self, change: Tensor, factors: Tensor, spans: Sequence[tuple[int, int]]) -> None:
        """Subtract factors (R, L) * change (R, P) from `parameters`, each factor in its span of the buffer.

        On a CPU what depends on the parameters follows at once; elsewhere call `parameters_changed` afterwards.
        """
        if self.device.type != "cpu":
            for (start, end), factor in zip(spans, factors.split(1, dim=1), strict=True):
                self.parameters[:, start:end].addcmul_(change[:, start:end], factor, value=-1)
            return
        parameters, given, low = self.parameters.numpy(), change.numpy(), bits(self._working)
        for r, row in enumerate(factors.numpy()):
            for (start, end), factor in zip(spans, row, strict=True):
                own = parameters[r, start:end], given[r, start:end], factor
                if self._working is self.parameters:
                    descend(*own)
                else:
                    descend_and_round(*own, low[r, start:end])

    def take(self, model: Tensor) -> None:
        """Give the first replica the parameters (P,) of a model."""
        self.parameters[0].copy_(model)
        self.parameters_changed()

    def replica(self, r: int) -> "StackedNetwork":
        """Return replica r as a network of its own that shares this one's memory."""
        one, flat = copy.copy(self), self.parameters[r : r + 1]
        one._bind(flat, flat if self._working is self.parameters else self._working[r : r + 1])
        return one

    def logits(self, spliced: Tensor) -> Tensor:
        """Return (R, B, num_pdfs), before the softmax, for windows (R, B, input_dim) of the network's dtype.

        Of windows with n - 1 frames more, n outputs each: (R, B * n, num_pdfs).
        """
        frames = spliced.shape[2] // self.spec.frame_dim
        usual = frames == 2 * self.spec.context + 1
        positions = self._positions if usual else self.spec.positions(frames, self.device)
        x = self._points(spliced)
        for step, own in zip(self._steps, self._bindings(positions, None), strict=True):
            x, _ = step.component.forward(x, own)
        return x

    def _points(self, spliced: Tensor) -> Tensor:
        """Return windows (R, B, frames * frame_dim) as rows for the first splice, a frame each."""
        replicas, rows, columns = spliced.shape  # a minibatch may have no rows
        dim = self.spec.frame_dim
        return spliced.reshape(replicas, rows * (columns // dim), dim)

    def _bindings(self, positions: list[Positions | None], workspace: Workspace | None) -> Iterator[Binding]:
        """Yield the components' bindings: in training with a workspace, else with new memory."""
        for step in self._steps:
            memory = new_memory if workspace is None else workspace.of(step.place)
            yield Binding(step.tensors, positions[step.place], memory, training=workspace is not None)

    def backward(self, spliced: Tensor, labels: Tensor, soft: Soft | None = None) -> Backward:
        """Return loss and derivatives of the cross-entropy with labels (R, B), and soft targets if there are any."""
        return self.differentiate(spliced, CrossEntropy(labels, soft))

    def differentiate(self, spliced: Tensor, objective: Objective) -> Backward:
        """Return loss and derivatives; the next call writes into the same memory.

        Args:
            spliced: (R, B, input_dim) of the network's dtype.
            objective: of this minibatch.
        """
        bindings = list(self._bindings(self._positions, self._workspace))
        x, saved = self._points(spliced), []
        for step, own in zip(self._steps, bindings, strict=True):
            x, kept = step.component.forward(x, own)
            saved.append(kept)
        loss = objective(x)
        derivative = loss.derivative.to(self.dtype)
        inputs, derivatives = [], []
        left = self.spec.hidden_layers  # affine components before this one
        for step, kept, own in zip(reversed(self._steps), reversed(saved), reversed(bindings), strict=True):
            if step.trained:
                inputs.append(kept[0])
                derivatives.append(derivative)
                if left == 0:
                    break  # nothing below is trained
                left -= 1
            derivative = step.component.backward(derivative, kept, own)
        return Backward(inputs[::-1], derivatives[::-1], loss.loss_sum, loss.correct)
