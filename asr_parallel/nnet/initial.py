"""Initial parameters, drawn as Kaldi draws them for each kind of network."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from asr_parallel.nnet.spec import NetworkSpec

# sigmoid, Kaldi nnet1 without pretraining (utils/nnet/make_nnet_proto.py): weights of deviation 0.1 times
# 35 * sqrt(2 / (in + out)), the first layer's narrower by the deviation of U[0, 1], hidden biases from -4 to 0.
SIGMOID_STDDEV = 0.1
GLOROT = 35.0
FIRST_LAYER_SCALE = math.sqrt(1 / 12)
BIAS_MEAN, BIAS_RANGE = -2.0, 4.0

# The others: weights of deviation 1 / sqrt(in), the output layer zero, biases of deviation
RENORM_BIAS_STDDEV = 1.0  # Kaldi nnet3 NaturalGradientAffineComponent
NNET2_BIAS_STDDEV = 0.5  # Kaldi steps/nnet2/train_pnorm_fast.sh and train_tanh_fast.sh


def draw(spec: NetworkSpec, weights: list[Tensor], biases: list[Tensor], seed: int) -> None:
    """Fill the layers of one network, (out, in) and (out,) float32 each on the CPU, from a seed.

    A renormalised ReLU, tanh and p-norm start as in Kaldi. A ReLU without renormalisation, which Kaldi seldom trains,
    starts with weights of deviation sqrt(2 / in) and biases of zero (He et al., 2015), its output layer at a tenth.
    """
    random = torch.Generator().manual_seed(seed)
    layer = {
        "sigmoid": _sigmoid,
        "relu": _he,
        "relu-renorm": _kaldi(RENORM_BIAS_STDDEV),
        "tanh": _kaldi(NNET2_BIAS_STDDEV),
        "pnorm": _kaldi(NNET2_BIAS_STDDEV),
    }[spec.nonlinearity]
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        layer(weight, bias, k == 0, k == spec.hidden_layers, random)


def _sigmoid(weight: Tensor, bias: Tensor, first: bool, last: bool, random: Generator) -> None:
    out, into = weight.shape
    deviation = SIGMOID_STDDEV * GLOROT * math.sqrt(2 / (into + out))
    weight.normal_(0, deviation * (FIRST_LAYER_SCALE if first else 1), generator=random)
    if last:
        bias.zero_()
    else:
        bias.uniform_(BIAS_MEAN - BIAS_RANGE / 2, BIAS_MEAN + BIAS_RANGE / 2, generator=random)


def _he(weight: Tensor, bias: Tensor, first: bool, last: bool, random: Generator) -> None:
    weight.normal_(0, (0.1 if last else 1) * math.sqrt(2 / weight.shape[1]), generator=random)
    bias.zero_()


def _kaldi(bias_stddev: float) -> Callable[[Tensor, Tensor, bool, bool, Generator], None]:
    def layer(weight: Tensor, bias: Tensor, first: bool, last: bool, random: Generator) -> None:
        if last:
            weight.zero_()
            bias.zero_()
        else:
            weight.normal_(0, weight.shape[1] ** -0.5, generator=random)
            bias.normal_(0, bias_stddev, generator=random)

    return layer
