"""A finished stack of RBMs in a folder, and a network that starts from it."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from asr_parallel.nnet.components import Affine, Sigmoid, Splice
from asr_parallel.nnet.stacked import StackedNetwork

TENSORS = "rbm.safetensors"  # of each layer's folder


def read_layer(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight (H, V), hidden_bias (H,), visible_bias (V,) float32; ValueError when missing or misshapen."""
    try:
        found = load((folder / TENSORS).read_bytes())
        weight, hidden_bias, visible_bias = (found[name] for name in ("weight", "hidden_bias", "visible_bias"))
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a finished layer of stage 5: {error}") from error
    if weight.shape != (*hidden_bias.shape, *visible_bias.shape) or not all(t.isfinite().all() for t in found.values()):
        raise ValueError(f"{folder / TENSORS}: sizes that do not fit together, or numbers that are not finite")
    return weight, hidden_bias, visible_bias


def load_rbm_weights(stack: Path, network: StackedNetwork) -> None:
    """Put the weights and hidden biases of a stack in a folder into the hidden layers of a network, in every replica.

    The output layer stays as `initialise` drew it for sigmoids: as Kaldi nnet1 draws the softmax layer.

    Raises:
        ValueError: the network's units are not sigmoids, or its sizes are not the stack's.
    """
    for component in network.spec.components:
        if not isinstance(component, Affine | Splice | Sigmoid):
            raise ValueError(f"component {component.kind}: a stack of RBMs initialises a network of sigmoids")
    for layer in range(network.spec.hidden_layers):
        folder = stack / str(layer + 1)
        weight, bias, _ = read_layer(folder)
        expected = network.layers.weights[layer].shape[1:]
        if weight.shape != expected:
            raise ValueError(
                f"{folder}: a layer of {tuple(weight.shape)} (out, in); the network's is {tuple(expected)}"
            )
        with torch.no_grad():
            network.layers.weights[layer].copy_(weight)
            network.layers.biases[layer].copy_(bias)
    network.parameters_changed()
