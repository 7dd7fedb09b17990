"""Optimisers behind one small interface: given every layer's input and derivative, move the parameters of all replicas.

Gradients are summed over the minibatch and learning rates are per frame. The change of a minibatch is written into one
flat buffer of the parameters' shape and limited there. A replica whose change is not finite keeps its parameters and
its optimiser's state; how often that happened is counted. Nothing here waits for a GPU.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient, precondition_together
from asr_parallel.nnet.products import product
from asr_parallel.nnet.spec import layout
from asr_parallel.nnet.stacked import Backward, Layers, StackedNetwork
from asr_parallel.nnet.sums import sums_of_squares

# Kaldi nnet3 NaturalGradientAffineComponent; never more than half the dimensions
RANK_IN = 20
RANK_OUT = 80
UPDATE_PERIOD = 4  # minibatches, same source

ADAM_BETAS = (0.9, 0.999)  # Kingma & Ba, 2015
ADAM_EPSILON = 1e-8

State = dict[str, Tensor]


class Optimizer(ABC):
    """Moves a stacked network's parameters.

    skipped: (R,) int64, minibatches whose change was not finite and which were therefore left out.
    """

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None) -> None:
        self.network = network
        self.max_change = max_change
        self.skipped = torch.zeros(network.replicas, dtype=torch.int64, device=network.device)
        self._spans = [(p.start, p.end) for p in layout(network.spec)]
        self._change = Layers.zeros(network.spec, network.replicas, network.device)

    def step(self, minibatch: Backward, learning_rate: float, active: Tensor | None = None) -> None:
        """Apply one minibatch.

        Args:
            minibatch: what `StackedNetwork.backward` returned; its tensors may be overwritten.
            learning_rate: per frame.
            active: (R,) bool; replicas that are not have frames of NaN on purpose, and those left out do not count.
        """
        factors = self._gradient(minibatch.inputs, minibatch.derivatives)
        lengths = self._lengths(factors)
        finite = lengths.isfinite().all(dim=1)
        self.skipped += ~finite if active is None else ~finite & active
        # A masked fill is a pass over the buffer; on a CPU it is cheaper to look first.
        if self._change.flat.is_cuda or not bool(finite.all()):
            self._change.flat.masked_fill_(~finite[:, None], 0.0)
            factors = factors.masked_fill(~finite[:, None], 0.0)
            lengths = lengths.masked_fill(~finite[:, None], 0.0)
        directed = self._direct(factors, finite)
        if self.max_change is not None:
            if directed is not factors:  # else it is the gradient, whose lengths are known
                lengths = self._lengths(directed)
            directed = directed * self.max_change.scale(learning_rate * lengths)
        for (start, end), factor in zip(self._spans, (-learning_rate * directed).split(1, dim=1), strict=True):
            self.network.parameters[:, start:end].addcmul_(self._change.flat[:, start:end], factor)
        self.network.parameters_changed()

    def _lengths(self, factors: Tensor) -> Tensor:
        """(R, L) Euclidean lengths of the layers' changes in the buffer, times their factors."""
        squares = sums_of_squares([(self._change.flat[:, start:end],) for start, end in self._spans])
        return squares.view(len(self._spans), -1).mT.sqrt() * factors

    def _gradient(self, inputs: list[Tensor], derivatives: list[Tensor]) -> Tensor:
        """Write the gradient, preconditioned or not, into the buffer. Returns (R, L) factors it is to be taken with."""
        for weight, bias, x, d in zip(self._change.weights, self._change.biases, inputs, derivatives, strict=True):
            product(d.mT, x, out=weight)
            torch.sum(d, dim=1, dtype=torch.float32, out=bias)
        return self._change.flat.new_ones(self.network.replicas, len(inputs))

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        """Turn the gradient in the buffer into the direction to go against; keep state of finite replicas alone.

        Returns (R, L) factors that the direction is to be taken with; the same object when there is nothing to turn.
        """
        return factors

    @abstractmethod
    def _tensors(self) -> State:
        """All state beside `skipped`, (R, ...) each, by name."""

    def state(self) -> State:
        """Copies of all that a later `restore` needs to go on as if nothing had happened."""
        return {name: t.clone() for name, t in {"skipped": self.skipped, **self._tensors()}.items()}

    def restore(self, state: State) -> None:
        """Take over what `state` gave; ValueError when it is of another optimiser or network."""
        mine = {"skipped": self.skipped, **self._tensors()}
        if {n: t.shape for n, t in mine.items()} != {n: t.shape for n, t in state.items()}:
            raise ValueError(f"optimiser state of another kind or size: {sorted(state)}; expected {sorted(mine)}")
        self.skipped.copy_(state["skipped"])
        self._take(state)

    def _take(self, state: State) -> None:
        """Take over the state of the right names and shapes."""
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])


class Sgd(Optimizer):
    """Plain stochastic gradient descent: w -= rate * g."""

    def _tensors(self) -> State:
        return {}


class Momentum(Optimizer):
    """v = m v + g; w -= rate * (1 - m) * v.

    The factor 1 - m, Kaldi nnet3's and its RBMs', keeps the effective learning rate what it is without momentum;
    torch.optim.SGD and Kaldi's nnet1 fine-tuning have none.
    """

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None, momentum: float) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum {momentum}: expected at least 0 and below 1")
        super().__init__(network, max_change)
        self.momentum = momentum
        self._velocity = torch.zeros_like(network.parameters)

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        decay = torch.where(finite, self.momentum, 1.0)[:, None]
        self._velocity.mul_(decay).add_(self._change.flat)  # a skipped replica's gradient is zero by now
        self._change.flat.copy_(self._velocity)
        return factors * (finite[:, None] * (1 - self.momentum))

    def _tensors(self) -> State:
        return {"velocity": self._velocity}


class Adam(Optimizer):
    """Kingma & Ba, 2015, on the gradient summed over the minibatch; the rate is per minibatch, as always with Adam.

    Table: _mean = m, _square = v, _steps = t of the paper's Algorithm 1.
    """

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None) -> None:
        super().__init__(network, max_change)
        self._mean = torch.zeros_like(network.parameters)
        self._square = torch.zeros_like(network.parameters)
        self._steps = torch.zeros(network.replicas, dtype=torch.int64, device=network.device)

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        gradient, moved = self._change.flat, finite[:, None].float()
        self._steps += finite
        mean_beta, square_beta = ADAM_BETAS
        self._mean.lerp_(gradient, (1 - mean_beta) * moved)
        self._square.lerp_(gradient.square(), (1 - square_beta) * moved)
        steps = self._steps.clamp_min(1)[:, None]
        mean_correction, square_correction = 1 - mean_beta**steps, 1 - square_beta**steps
        root = (self._square / square_correction).sqrt_().add_(ADAM_EPSILON)
        torch.div(self._mean, root, out=gradient)
        return factors * moved / mean_correction

    def _tensors(self) -> State:
        return {"mean": self._mean, "square": self._square, "steps": self._steps}


@dataclass(frozen=True, slots=True)
class _Side:
    """The inputs ("in") or the derivatives ("out") of layers of equal dimensions."""

    of: str
    layers: list[int]
    preconditioner: OnlineNaturalGradient  # estimates of the first layer's replicas, then the next's, ...


class NgSgd(Optimizer):
    """Natural-gradient SGD (Povey, Zhang & Khudanpur, 2015) as in Kaldi nnet3's NaturalGradientAffineComponent.

    Every affine layer has two preconditioners: one of its input with a 1 appended for the bias, one of its derivative.
    The change is rate * (scale_in * scale_out) * derivative^T input, of what they leave of both.
    """

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None) -> None:
        super().__init__(network, max_change)
        places = layout(network.spec)
        self._sides = [
            *self._of("in", [p.into + 1 for p in places], RANK_IN),
            *self._of("out", [p.out for p in places], RANK_OUT),
        ]

    def _of(self, of: str, dims: list[int], rank: int) -> Iterator[_Side]:
        """Sides of layers with these dimensions."""
        for dim in dict.fromkeys(dims):
            layers = [k for k, own in enumerate(dims) if own == dim]
            preconditioner = OnlineNaturalGradient(
                len(layers) * self.network.replicas,
                dim,
                min(rank, (dim + 1) // 2),
                UPDATE_PERIOD,
                with_one=of == "in",
                device=self.network.device,
            )
            yield _Side(of, layers, preconditioner)

    def _gradient(self, inputs: list[Tensor], derivatives: list[Tensor]) -> Tensor:
        given = {"in": inputs, "out": derivatives}
        done = precondition_together(
            [side.preconditioner for side in self._sides],
            [[given[side.of][k] for k in side.layers] for side in self._sides],
        )
        left = {
            (side.of, k): of_layer
            for side, of_layers in zip(self._sides, done, strict=True)
            for k, of_layer in zip(side.layers, of_layers, strict=True)
        }
        scales = []
        for k, (weight, bias) in enumerate(zip(self._change.weights, self._change.biases, strict=True)):
            x, d = left["in", k], left["out", k]
            assert x.one is not None
            product(d.y.mT, x.y, out=weight)
            product(x.one.mT, d.y, out=bias.unsqueeze(1))
            scales.append(x.scale * d.scale)
        return torch.stack(scales, dim=1)

    def _tensors(self) -> State:
        return {
            f"{side.of}{side.layers[0]}.{name}": self._by_replica(tensor)
            for side in self._sides
            for name, tensor in side.preconditioner.state().items()
        }

    def _by_replica(self, tensor: Tensor) -> Tensor:
        """(R, L, ...) of what a preconditioner of L layers has: (L * R, ...), or one number for all."""
        replicas = self.network.replicas
        return tensor.unflatten(0, (-1, replicas)).transpose(0, 1) if tensor.dim() else tensor.expand(replicas)

    def _take(self, state: State) -> None:
        for side in self._sides:
            own = {}
            for name, tensor in side.preconditioner.state().items():
                given = state[f"{side.of}{side.layers[0]}.{name}"]
                own[name] = given.transpose(0, 1).flatten(0, 1) if tensor.dim() else given[0]
            side.preconditioner.restore(own)


OPTIMIZERS = ("ng-sgd", "sgd", "momentum", "adam")


def optimizer(name: str, network: StackedNetwork, max_change: MaxChange | None, momentum: float) -> Optimizer:
    """The optimiser of this name in OPTIMIZERS; ValueError for another."""
    if name == "ng-sgd":
        return NgSgd(network, max_change)
    if name == "sgd":
        return Sgd(network, max_change)
    if name == "momentum":
        return Momentum(network, max_change, momentum)
    if name == "adam":
        return Adam(network, max_change)
    raise ValueError(f"unknown optimizer {name!r}; expected one of {', '.join(OPTIMIZERS)}")
