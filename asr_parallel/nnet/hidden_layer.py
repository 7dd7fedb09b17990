"""Layers of affine components and nonlinearities, with initial values as Kaldi has them for each kind of network."""

import math

from asr_parallel.nnet.choices import NONLINEARITIES, PNORM_GROUP
from asr_parallel.nnet.components import Affine, Component, Pnorm, Relu, Renorm, Sigmoid, Tanh

# sigmoid, Kaldi nnet1 without pretraining (utils/nnet/make_nnet_proto.py): weights of deviation 0.1 times
# 35 * sqrt(2 / (in + out)), the first layer's narrower by the deviation of U[0, 1], hidden biases from -4 to 0.
SIGMOID_STDDEV = 0.1
GLOROT = 35.0
FIRST_LAYER_SCALE = math.sqrt(1 / 12)
BIAS_MEAN, BIAS_RANGE = -2.0, 4.0

# The others: weights of deviation 1 / sqrt(in), the output layer zero, biases of deviation
RENORM_BIAS_STDDEV = 1.0  # Kaldi nnet3 NaturalGradientAffineComponent
NNET2_BIAS_STDDEV = 0.5  # Kaldi steps/nnet2/train_pnorm_fast.sh and train_tanh_fast.sh


def hidden_layer(
    nonlinearity: str, input_dim: int, dim: int, pnorm_group: int = PNORM_GROUP, first: bool = False
) -> tuple[Component, ...]:
    """Return an affine component and a nonlinearity of NONLINEARITIES with `dim` outputs; ValueError for another.

    P-norm is renormalised, as in Kaldi's nnet2 recipes; its affine component has pnorm_group times as many outputs. A
    renormalised ReLU, tanh and p-norm start as in Kaldi. A ReLU without renormalisation, which Kaldi seldom trains,
    starts with weights of deviation sqrt(2 / in) and biases of zero (He et al., 2015).

    Args:
        nonlinearity: its name.
        input_dim: number of inputs.
        dim: number of outputs.
        pnorm_group: inputs of a p-norm unit.
        first: whether it is the network's first layer.
    """
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"unknown nonlinearity {nonlinearity!r}; expected one of {', '.join(NONLINEARITIES)}")
    if nonlinearity == "sigmoid":
        deviation = _sigmoid_stddev(input_dim, dim) * (FIRST_LAYER_SCALE if first else 1)
        return Affine(dim, deviation, bias_mean=BIAS_MEAN, bias_range=BIAS_RANGE), Sigmoid()
    if nonlinearity == "relu":
        return Affine(dim, math.sqrt(2 / input_dim)), Relu()
    if nonlinearity == "relu-renorm":
        return Affine(dim, input_dim**-0.5, RENORM_BIAS_STDDEV), Relu(), Renorm()
    if nonlinearity == "tanh":
        return Affine(dim, input_dim**-0.5, NNET2_BIAS_STDDEV), Tanh()
    return Affine(dim * pnorm_group, input_dim**-0.5, NNET2_BIAS_STDDEV), Pnorm(pnorm_group), Renorm()


def output_layer(nonlinearity: str, input_dim: int, num_pdfs: int) -> Affine:
    """Return the last affine component of a network whose hidden layers have this nonlinearity: its biases are zero.

    With sigmoids its weights are drawn as Kaldi nnet1 draws them, with plain ReLUs at a tenth of a hidden layer's; else
    they are zero.
    """
    if nonlinearity == "sigmoid":
        return Affine(num_pdfs, _sigmoid_stddev(input_dim, num_pdfs))
    return Affine(num_pdfs, 0.1 * math.sqrt(2 / input_dim) if nonlinearity == "relu" else 0.0)


def _sigmoid_stddev(input_dim: int, dim: int) -> float:
    return SIGMOID_STDDEV * GLOROT * math.sqrt(2 / (input_dim + dim))
