"""The bias of an affine component, its ReLU and renormalisation in one pass over memory, on a CPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.components import SQUARED_FLOOR, TARGET_RMS, Affine, Binding, Component, Relu, Renorm, Saved
from asr_parallel.nnet.kernels import bias_relu, bias_relu_renorm, relu_backward, relu_renorm_backward


@dataclass(frozen=True)
class BiasRelu:
    """y = max(0, x + b), and that scaled to a root mean square of 1 if `renorm`: Relu, Renorm after an affine's bias.

    The affine component before is bound without its bias.
    """

    renorm: bool

    def forward(self, x: Tensor, own: Binding) -> tuple[Tensor, Saved]:
        """Overwrite x (R, rows, dims) with the output and return it."""
        bias = bits(own.tensors["bias"])
        if not self.renorm:
            bias_relu(bits(x), bias)
            return x, (x,)
        scale = torch.empty(x.shape[:2])
        bias_relu_renorm(bits(x), bias, scale.numpy(), np.float32(TARGET_RMS), np.float32(SQUARED_FLOOR))
        return x, (x, scale)

    def backward(self, derivative: Tensor, saved: Saved, own: Binding) -> Tensor:
        """Overwrite the derivative by the output with that by the affine component's output, and return it."""
        if not self.renorm:
            relu_backward(bits(derivative), bits(saved[0]))
        else:
            output, scale = saved
            relu_renorm_backward(bits(derivative), bits(output), scale.numpy(), np.float32(TARGET_RMS))
        return derivative


def fusable(components: Sequence[Component]) -> tuple[BiasRelu | None, int]:
    """Return what fuses the components after an affine one with its bias, and how many there are of them.

    Args:
        components: of a network, from the affine one on.
    """
    kinds = tuple(type(one) for one in components[:3])
    if kinds == (Affine, Relu, Renorm):
        return BiasRelu(renorm=True), 2
    if kinds[:2] == (Affine, Relu):
        return BiasRelu(renorm=False), 1
    return None, 0
