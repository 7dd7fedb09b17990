"""Hidden non-linearities, forward and backward, on stacked activations (R, B, dims) of float32 or bfloat16.

`forward` may overwrite its input; `backward` may overwrite the derivative it is given. What backward needs is what
forward returned: the output, and `saved`.
"""

from typing import Protocol

import torch
from torch import Tensor

TARGET_RMS = 1.0  # Kaldi nnet3 NormalizeComponent
SQUARED_FLOOR = 2.0**-66  # of the mean square, same source: an all-zero frame stays zero

Saved = tuple[Tensor, ...]


class Nonlinearity(Protocol):
    """A hidden non-linearity."""

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        """(R, B, affine outputs) -> output (R, B, hidden_dim) and what backward needs beside it."""
        ...

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        """Derivative of the loss by the output, (R, B, hidden_dim) -> by z."""
        ...


class Sigmoid:
    """y = 1 / (1 + exp(-z))"""

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        return z.sigmoid_(), ()

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        return torch.ops.aten.sigmoid_backward.grad_input(derivative, output, grad_input=derivative)


class Tanh:
    """y = tanh(z)"""

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        return z.tanh_(), ()

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        return torch.ops.aten.tanh_backward.grad_input(derivative, output, grad_input=derivative)


class Relu:
    """y = max(0, z)"""

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        return z.relu_(), ()

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        return torch.ops.aten.threshold_backward.grad_input(derivative, output, 0, grad_input=derivative)


class Pnorm:
    """y_j = sqrt(sum of z_i^2 over the group j of consecutive i): Kaldi nnet2 PnormComponent with its default p = 2."""

    def __init__(self, group: int) -> None:
        self.group = group

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        norm = torch.linalg.vector_norm(z.unflatten(-1, (-1, self.group)), dim=-1)
        return norm, (z,)

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        (z,) = saved
        share = torch.where(output > 0, derivative / output, 0)  # a group of zeros has derivative 0
        return (z.unflatten(-1, (-1, self.group)) * share.unsqueeze(-1)).flatten(-2)


class Renormalised:
    """Another non-linearity followed by Kaldi's NormalizeComponent: each frame is scaled to a root mean square of 1."""

    def __init__(self, inner: Nonlinearity) -> None:
        self.inner = inner

    def forward(self, z: Tensor) -> tuple[Tensor, Saved]:
        inner, saved = self.inner.forward(z)
        dims = inner.shape[-1]
        length = torch.linalg.vector_norm(inner, dim=-1, keepdim=True, dtype=torch.float32)
        floor = (SQUARED_FLOOR * dims) ** 0.5
        scale = TARGET_RMS * dims**0.5 / length.clamp_min(floor)
        return inner * scale.to(inner.dtype), (scale, inner, *saved)

    def backward(self, derivative: Tensor, output: Tensor, saved: Saved) -> Tensor:
        scale, inner, *rest = saved
        # dy/dx = scale * (1 - y y^T / (dims * rms^2)): what would only change the length has no effect.
        along = torch.linalg.vecdot(derivative, output).unsqueeze(-1) / (-output.shape[-1] * TARGET_RMS**2)
        derivative = torch.addcmul(derivative, output, along).mul_(scale.to(derivative.dtype))
        return self.inner.backward(derivative, inner, tuple(rest))


def nonlinearity(name: str, pnorm_group: int) -> Nonlinearity:
    """The non-linearity of this name in spec.NONLINEARITIES; p-norm is renormalised, as in Kaldi's nnet2 recipes."""
    made: dict[str, Nonlinearity] = {
        "sigmoid": Sigmoid(),
        "tanh": Tanh(),
        "relu": Relu(),
        "relu-renorm": Renormalised(Relu()),
        "pnorm": Renormalised(Pnorm(pnorm_group)),
    }
    return made[name]
