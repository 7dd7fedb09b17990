"""Components: the steps that a network is a list of, forward and backward by hand.

Activations are stacked, (R, rows, dims) of float32 or bfloat16 for R replicas. Rows are the frames of a minibatch;
below a splice they are frames times points in time, each frame's points next to each other.

A component of one's own is a frozen dataclass that derives from Component and names itself:

    @dataclass(frozen=True)
    class Scale(Component, kind="scale"):
        factor: float = 1.0

        def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]: ...
        def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor: ...

Its fields are what net.json holds of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Generator, Tensor

from asr_parallel.nnet.products import add_product, product
from asr_parallel.record.from_json import from_json

TARGET_RMS = 1.0  # Kaldi nnet3 NormalizeComponent
SQUARED_FLOOR = 2.0**-66  # of the mean square, same source: an all-zero frame stays zero

Saved = tuple[Tensor, ...]
Shapes = dict[str, tuple[int, ...]]

_kinds: dict[str, type["Component"]] = {}


@dataclass(frozen=True, slots=True)
class Positions:
    """The rows that a splice reads: `index` (points out, offsets) of the `points` that each frame's input has."""

    index: Tensor
    points: int
    all_in_order: bool  # one point out, which is made of all points in


class Memory(Protocol):
    """Memory for a result: new, or what the minibatch before had."""

    def __call__(self, name: str, like: Tensor, rows: int, columns: int) -> Tensor:
        """Return (R, rows, columns) of the replicas, type and device of `like`, with arbitrary content."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """The tensors and memory of a component in one network.

    tensors: its parameters (R, ...), of the products' type, and its buffers, float32, by name: views of the flat
        buffer.
    positions: of a splice.
    training: whether buffers follow the data.
    """

    tensors: Mapping[str, Tensor]
    positions: Positions | None
    memory: Memory
    training: bool


class Component(ABC):
    """A step of a network.

    overwrites_input: forward writes over its input, so it may not follow a component that keeps its output.
    keeps_output: backward needs the output as it was.
    """

    kind: ClassVar[str]
    overwrites_input: ClassVar[bool] = False
    keeps_output: ClassVar[bool] = False

    def __init_subclass__(cls, kind: str, **words: Any) -> None:
        """Make the component known to net.json as `kind`."""
        super().__init_subclass__(**words)
        cls.kind = kind
        _kinds[kind] = cls

    def output_dim(self, input_dim: int) -> int:
        """Return the dimensions of the output; ValueError for an input that it cannot take."""
        return input_dim

    def reads(self) -> tuple[int, ...]:
        """Return the points in time that an output is made of, relative to its own."""
        return (0,)

    def parameters(self, input_dim: int) -> Shapes:
        """Return the shapes of the trained tensors. Optimisers train weights and biases of affine components."""
        return {}

    def buffers(self, input_dim: int) -> Shapes:
        """Return the shapes of further tensors, which no gradient moves but which are averaged and saved as well."""
        return {}

    def initialise(self, tensors: Mapping[str, Tensor], random: Generator) -> None:
        """Write initial values into the tensors of one replica, float32 zeros on the CPU."""
        return

    @abstractmethod
    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        """Return the output for (R, rows, dims) and what backward will need."""

    @abstractmethod
    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        """Return the derivative of the loss by the input, given the one by the output, which may be overwritten."""

    def constrain(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring the (R, ...) float32 tensors back to what they must fulfil, after each step of an optimiser."""
        return

    def __str__(self) -> str:
        """Return its kind and what distinguishes it from others of the kind, for messages."""
        values = (getattr(self, one.name) for one in fields(self) if one.compare)  # type: ignore[arg-type]
        return " ".join([self.kind, *(str(value).strip("()").replace(", ", ",") for value in values)])

    def to_json(self) -> dict[str, Any]:
        """Return what net.json holds of it."""
        return {"component": self.kind, **asdict(self)}  # type: ignore[call-overload]


def component_from_json(described: Any, where: str) -> Component:
    """Return the component that `to_json` described; ValueError, which begins with `where`, when there is none."""
    kind = described.get("component") if isinstance(described, dict) else None
    if kind not in _kinds:
        raise ValueError(f"{where}: component {kind!r}; expected one of {', '.join(_kinds)}")
    values = {name: value for name, value in described.items() if name != "component"}
    made: Component = from_json(_kinds[kind], values, where)
    return made


@dataclass(frozen=True)
class Affine(Component, kind="affine"):
    """y = W x + b, the component that optimisers train.

    dim: outputs. The others are for initial values: weights are drawn from a normal distribution; biases are bias_mean
    plus a normal number of bias_stddev, or a uniform one of bias_range in all.
    """

    dim: int
    weight_stddev: float = field(default=0.0, compare=False)
    bias_stddev: float = field(default=0.0, compare=False)
    bias_mean: float = field(default=0.0, compare=False)
    bias_range: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"affine component of dim {self.dim}: expected a positive number")

    def output_dim(self, input_dim: int) -> int:
        return self.dim

    def parameters(self, input_dim: int) -> Shapes:
        return {"weight": (self.dim, input_dim), "bias": (self.dim,)}

    def initialise(self, tensors: Mapping[str, Tensor], random: Generator) -> None:
        weight, bias = tensors["weight"].zero_(), tensors["bias"].fill_(self.bias_mean)
        if self.weight_stddev:
            weight.normal_(0, self.weight_stddev, generator=random)
        if self.bias_stddev:
            bias.normal_(self.bias_mean, self.bias_stddev, generator=random)
        elif self.bias_range:
            low, high = self.bias_mean - self.bias_range / 2, self.bias_mean + self.bias_range / 2
            bias.uniform_(low, high, generator=random)

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        weight, bias = own.tensors["weight"], own.tensors.get("bias")
        out = own.memory("output", x, x.shape[1], weight.shape[1])
        if bias is None:  # what comes next adds it
            return product(x, weight.mT, out=out), (x,)
        return add_product(bias.unsqueeze(1), x, weight.mT, alpha=1, out=out), (x,)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        weight = own.tensors["weight"]
        out = own.memory("derivative", derivative, derivative.shape[1], weight.shape[2])
        return product(derivative, weight, out=out)


@dataclass(frozen=True)
class Splice(Component, kind="splice"):
    """The input at several points in time, one after the other: Kaldi nnet3's Append of offsets."""

    offsets: tuple[int, ...]

    keeps_output = True  # which may be its input

    def __post_init__(self) -> None:
        if not self.offsets or list(self.offsets) != sorted(set(self.offsets)):
            raise ValueError(f"splice {self.offsets}: expected different offsets in ascending order")

    def output_dim(self, input_dim: int) -> int:
        return len(self.offsets) * input_dim

    def reads(self) -> tuple[int, ...]:
        return self.offsets

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        assert own.positions is not None
        replicas, rows, dim = x.shape
        frames, index = rows // own.positions.points, own.positions.index
        if own.positions.all_in_order:
            return x.reshape(replicas, frames, own.positions.points * dim), ()
        columns = index.shape[1] * dim
        out = own.memory("output", x, frames * len(index), columns)
        points = x.reshape(replicas, frames, own.positions.points, dim)
        torch.index_select(points, 2, index.flatten(), out=out.view(replicas, frames, index.numel(), dim))
        return out, ()

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        assert own.positions is not None
        index, points = own.positions.index, own.positions.points
        replicas, rows, columns = derivative.shape
        frames, dim = rows // len(index), columns // index.shape[1]
        if own.positions.all_in_order:
            return derivative.reshape(replicas, frames * points, dim)
        out = own.memory("derivative", derivative, frames * points, dim).zero_()
        into, given = out.view(replicas, frames, points, dim), derivative.view(replicas, frames, *index.shape, dim)
        for n in range(index.shape[1]):  # an offset reads a row at most once: the order of sums is fixed on a GPU too
            into.index_add_(2, index[:, n], given[:, :, :, n])
        return out


@dataclass(frozen=True)
class Sigmoid(Component, kind="sigmoid"):
    """y = 1 / (1 + exp(-x))."""

    overwrites_input = True
    keeps_output = True

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        return x.sigmoid_(), (x,)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        torch.ops.aten.sigmoid_backward.grad_input(derivative, saved[0], grad_input=derivative)
        return derivative


@dataclass(frozen=True)
class Tanh(Component, kind="tanh"):
    """y = tanh(x)."""

    overwrites_input = True
    keeps_output = True

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        return x.tanh_(), (x,)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        torch.ops.aten.tanh_backward.grad_input(derivative, saved[0], grad_input=derivative)
        return derivative


@dataclass(frozen=True)
class Relu(Component, kind="relu"):
    """y = max(0, x)."""

    overwrites_input = True
    keeps_output = True

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        return x.relu_(), (x,)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        torch.ops.aten.threshold_backward.grad_input(derivative, saved[0], 0, grad_input=derivative)
        return derivative


@dataclass(frozen=True)
class Pnorm(Component, kind="pnorm"):
    """y_j = sqrt(sum of x_i^2 over the group j of consecutive i): Kaldi nnet2 PnormComponent with its default p = 2."""

    group: int

    keeps_output = True

    def __post_init__(self) -> None:
        if self.group < 1:
            raise ValueError(f"p-norm group of {self.group}: expected a positive number")

    def output_dim(self, input_dim: int) -> int:
        if input_dim % self.group:
            raise ValueError(f"p-norm of {input_dim} inputs: expected a multiple of the group's {self.group}")
        return input_dim // self.group

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        norm = torch.linalg.vector_norm(x.unflatten(-1, (-1, self.group)), dim=-1)
        return norm, (x, norm)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        x, norm = saved
        ratio = torch.where(norm > 0, derivative / norm, 0)  # a group of zeros has derivative 0
        product_of_groups: Tensor = x.unflatten(-1, (-1, self.group)) * ratio.unsqueeze(-1)
        return product_of_groups.flatten(-2)


@dataclass(frozen=True)
class Renorm(Component, kind="renorm"):
    """Kaldi's NormalizeComponent: each row is scaled to a root mean square of 1."""

    keeps_output = True

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        dims = x.shape[-1]
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        floor = (SQUARED_FLOOR * dims) ** 0.5
        scale = TARGET_RMS * dims**0.5 / length.clamp_min(floor)
        output = x * scale.to(x.dtype)
        return output, (output, scale)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        output, scale = saved
        # dy/dx = scale * (1 - y y^T / (dims * rms^2)): what would only change the length has no effect.
        along = torch.linalg.vecdot(derivative, output).unsqueeze(-1) / (-output.shape[-1] * TARGET_RMS**2)
        return torch.addcmul(derivative, output, along).mul_(scale.to(derivative.dtype))
