"""The time-delay network: hidden layers that splice the layer below at a few points in time.

Peddinti, Povey & Khudanpur, "A time delay neural network architecture for efficient modeling of long temporal contexts"
(Interspeech 2015), as Kaldi's egs/swbd/s5c/local/nnet3 trains it. A lower layer is computed only at the points in time
that the layers above read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.nnet.architectures import register
from asr_parallel.nnet.choices import NONLINEARITIES, PNORM_GROUP
from asr_parallel.record.options import check, option

if TYPE_CHECKING:
    from asr_parallel.nnet.components import Component
    from asr_parallel.nnet.spec import NetworkSpec

SPLICE_INDEXES = "-2,-1,0,1,2 -1,2 -3,3 -7,2 0"  # Kaldi egs/swbd/s5c/local/nnet3/tuning/run_tdnn_a.sh


@dataclass(frozen=True, slots=True)
class TdnnOptions:
    """Time-delay network."""

    splice_indexes: str = option(
        SPLICE_INDEXES,
        "offsets of the frames, or of the layer below, that each hidden layer reads",
        source="Kaldi egs/swbd/s5c/local/nnet3/tuning/run_tdnn_a.sh",
    )
    hidden_dim: int = option(512, "units of a hidden layer", least=1)
    nonlinearity: str = option("relu-renorm", "of the hidden layers", choices=NONLINEARITIES)
    pnorm_group: int = option(
        PNORM_GROUP, "inputs of a p-norm unit", least=1, source="Kaldi steps/nnet2/train_pnorm_fast.sh"
    )

    def __post_init__(self) -> None:
        check(self)
        self.offsets()

    def offsets(self) -> list[tuple[int, ...]]:
        """Return the offsets of each hidden layer; ValueError when they are not whole numbers, one at least."""
        try:
            found = [tuple(int(offset) for offset in layer.split(",")) for layer in self.splice_indexes.split()]
        except ValueError:
            found = []
        if not found:
            raise ValueError(
                f"splice_indexes {self.splice_indexes!r}: expected whole numbers with commas between, and a space"
                f" between two layers, such as {SPLICE_INDEXES!r}"
            )
        return found


@register("tdnn", options=TdnnOptions)
def make_tdnn(options: TdnnOptions, frame_dim: int, context: int, num_pdfs: int) -> NetworkSpec:
    """Return a network with a hidden layer for each group of offsets."""
    from asr_parallel.nnet.components import Splice
    from asr_parallel.nnet.hidden_layer import hidden_layer, output_layer
    from asr_parallel.nnet.spec import NetworkSpec

    components: list[Component] = []
    dim = frame_dim
    for k, offsets in enumerate(options.offsets()):
        if k == 0 or offsets != (0,):
            components.append(Splice(offsets))
            dim = components[-1].output_dim(dim)
        components += hidden_layer(options.nonlinearity, dim, options.hidden_dim, options.pnorm_group, first=k == 0)
        dim = options.hidden_dim
    return NetworkSpec(frame_dim, context, (*components, output_layer(options.nonlinearity, dim, num_pdfs)))
