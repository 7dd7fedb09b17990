"""Natural-gradient SGD."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.kernels import column_sums
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient, precondition_together
from asr_parallel.nnet.optimizer import Optimizer, Tensors
from asr_parallel.nnet.products import Add, product
from asr_parallel.nnet.spec import layout
from asr_parallel.nnet.stacked import StackedNetwork

# Kaldi nnet3 NaturalGradientAffineComponent; never more than half the dimensions
RANK_IN = 20
RANK_OUT = 80
UPDATE_PERIOD = 4  # minibatches, same source
NNET2_RATE = 0.01  # Kaldi steps/nnet2/train_pnorm_accel2.sh, per frame


@dataclass(frozen=True, slots=True)
class _Side:
    """The inputs ("in") or the derivatives ("out") of layers of equal dimensions."""

    of: str
    layers: list[int]
    points: int  # rows of these layers for each frame
    preconditioner: OnlineNaturalGradient  # estimates of the first layer's replicas, then the next's, ...


class NgSgd(Optimizer):
    """Natural-gradient SGD (Povey, Zhang & Khudanpur, 2015) as in Kaldi nnet3's NaturalGradientAffineComponent.

    Every affine layer has two preconditioners: one of its input with a 1 appended for the bias, one of its derivative.
    The change is rate * (scale_in * scale_out) * derivative^T input, of what they leave of both.
    """

    estimates_fisher = True

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None, add: Add | None = None) -> None:
        super().__init__(network, max_change, add)
        self._make_sides()

    @classmethod
    def default_rate(cls, nonlinearity: str) -> float:
        return NNET2_RATE if nonlinearity in ("tanh", "pnorm") else super().default_rate(nonlinearity)

    def _make_sides(self) -> None:
        places = layout(self.network.spec)
        self._sides = [
            *self._sides_of("in", [p.into + 1 for p in places], RANK_IN),
            *self._sides_of("out", [p.out for p in places], RANK_OUT),
        ]

    def forget(self) -> None:
        self._make_sides()

    def _sides_of(self, of: str, dims: list[int], rank: int) -> Iterator[_Side]:
        """Yield the sides of layers with these dimensions; layers of one dimension and number of rows share one."""
        kinds = list(zip(dims, self.network.spec.affine_points, strict=True))
        for dim, points in dict.fromkeys(kinds):
            layers = [k for k, kind in enumerate(kinds) if kind == (dim, points)]
            preconditioner = OnlineNaturalGradient(
                len(layers) * self.network.replicas,
                dim,
                min(rank, (dim + 1) // 2),
                UPDATE_PERIOD,
                with_one=of == "in",
                device=self.network.device,
            )
            yield _Side(of, layers, points, preconditioner)

    def _gradient(self, inputs: list[Tensor], derivatives: list[Tensor], frames: int) -> Tensor:
        given = {"in": inputs, "out": derivatives}
        done = precondition_together(
            [side.preconditioner for side in self._sides],
            [[given[side.of][k] for k in side.layers] for side in self._sides],
            self.add,
            [frames * side.points for side in self._sides],
        )
        left = {
            (side.of, k): of_layer
            for side, of_layers in zip(self._sides, done, strict=True)
            for k, of_layer in zip(side.layers, of_layers, strict=True)
        }
        scales = []
        for k, bias in enumerate(self._change.biases):
            x, d = left["in", k], left["out", k]
            assert x.one is not None
            self._weight_gradient(k, x.y, d.y)
            if bias.device.type == "cpu":
                column_sums(bits(d.y), bits(x.one), bias.numpy())
            else:
                product(x.one.mT, d.y, out=bias.unsqueeze(1))
            scales.append(x.scale * d.scale)
        return torch.stack(scales, dim=1)

    def _tensors(self) -> Tensors:
        return {
            f"{side.of}{side.layers[0]}.{name}": self._by_replica(tensor)
            for side in self._sides
            for name, tensor in side.preconditioner.state().items()
        }

    def _by_replica(self, tensor: Tensor) -> Tensor:
        """Return as (R, L, ...) the state of a preconditioner of L layers: (L * R, ...), or one number for all."""
        replicas = self.network.replicas
        return tensor.unflatten(0, (-1, replicas)).transpose(0, 1) if tensor.dim() else tensor.expand(replicas)

    def _take(self, state: Tensors) -> None:
        for side in self._sides:
            own = {}
            for name, tensor in side.preconditioner.state().items():
                given = state[f"{side.of}{side.layers[0]}.{name}"]
                own[name] = given.transpose(0, 1).flatten(0, 1) if tensor.dim() else given[0]
            side.preconditioner.restore(own)
