"""The feed-forward network: a window of frames, hidden layers of one size, an output layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.nnet.architectures import register
from asr_parallel.nnet.choices import NONLINEARITIES, PNORM_GROUP
from asr_parallel.record.options import Checked, option

if TYPE_CHECKING:
    from asr_parallel.nnet.components import Component
    from asr_parallel.nnet.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class DnnOptions(Checked):
    """Feed-forward network."""

    hidden_layers: int = option(3, "hidden layers", least=1)
    hidden_dim: int = option(512, "units of a hidden layer", least=1)
    nonlinearity: str = option("relu-renorm", "of the hidden layers", choices=NONLINEARITIES)
    pnorm_group: int = option(
        PNORM_GROUP, "inputs of a p-norm unit", least=1, source="Kaldi steps/nnet2/train_pnorm_fast.sh"
    )


@register("dnn", options=DnnOptions)
def make_dnn(options: DnnOptions, frame_dim: int, context: int, num_pdfs: int) -> NetworkSpec:
    """Return a network that sees every frame of a window."""
    from asr_parallel.nnet.components import Splice
    from asr_parallel.nnet.hidden_layer import hidden_layer, output_layer
    from asr_parallel.nnet.spec import NetworkSpec

    if context < 0:
        raise ValueError(f"context {context}: expected at least 0")
    splice = Splice(tuple(range(-context, context + 1)))
    components: list[Component] = [splice]
    dim = splice.output_dim(frame_dim)
    for k in range(options.hidden_layers):
        components += hidden_layer(options.nonlinearity, dim, options.hidden_dim, options.pnorm_group, first=k == 0)
        dim = options.hidden_dim
    return NetworkSpec(frame_dim, context, (*components, output_layer(options.nonlinearity, dim, num_pdfs)))


def dnn(
    frame_dim: int,
    context: int,
    hidden_layers: int,
    hidden_dim: int,
    num_pdfs: int,
    nonlinearity: str = "sigmoid",
    pnorm_group: int = PNORM_GROUP,
) -> NetworkSpec:
    """Return a feed-forward network of these sizes; ValueError when one is out of range."""
    return make_dnn(DnnOptions(hidden_layers, hidden_dim, nonlinearity, pnorm_group), frame_dim, context, num_pdfs)
