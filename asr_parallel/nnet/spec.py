"""What a feed-forward acoustic model looks like: its sizes, and where each layer lies in the flat buffer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

NONLINEARITIES = ("sigmoid", "tanh", "relu", "relu-renorm", "pnorm")

# A layer's place in the buffer begins at a multiple of this many numbers: 64 bytes also in bfloat16, what vector
# instructions read fastest.
ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Sizes of a network.

    frame_dim: features in each of the 2 * context + 1 frames it sees.
    hidden_dim: outputs of every hidden layer. Its affine part has pnorm_group times as many for p-norm.
    num_pdfs: outputs, one for each pdf_id.
    nonlinearity: of the hidden layers, one of NONLINEARITIES (nnet/nonlinearity.py).
    pnorm_group: inputs of one p-norm unit (Kaldi steps/nnet2/train_pnorm_fast.sh: 3000 to 300, so 10).
    """

    frame_dim: int
    context: int
    hidden_layers: int
    hidden_dim: int
    num_pdfs: int
    nonlinearity: str = "sigmoid"
    pnorm_group: int = 10

    def __post_init__(self) -> None:
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(f"unknown nonlinearity {self.nonlinearity!r}; expected one of {', '.join(NONLINEARITIES)}")
        sizes = (self.frame_dim, self.hidden_layers, self.hidden_dim, self.num_pdfs, self.pnorm_group)
        if min(sizes) < 1 or self.context < 0:
            raise ValueError(f"every size of a network must be positive: {self}")

    @property
    def input_dim(self) -> int:
        """Dimensions of a frame with its context."""
        return (2 * self.context + 1) * self.frame_dim

    @property
    def num_affine(self) -> int:
        """Number of affine layers, the output layer included."""
        return self.hidden_layers + 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where one affine layer lies in a flat buffer: `out * in` weights row by row, then `out` biases."""

    start: int
    out: int
    into: int

    @property
    def bias_start(self) -> int:
        return self.start + self.out * self.into

    @property
    def end(self) -> int:
        return self.bias_start + self.out


def layout(spec: NetworkSpec) -> list[Place]:
    """Places of the affine layers, from the first to the output layer."""
    return list(_places(spec))


def _places(spec: NetworkSpec) -> Iterator[Place]:
    widen = spec.pnorm_group if spec.nonlinearity == "pnorm" else 1
    sizes = [spec.input_dim, *[spec.hidden_dim] * spec.hidden_layers]
    start = 0
    for into, out in [*((a, b * widen) for a, b in pairwise(sizes)), (sizes[-1], spec.num_pdfs)]:
        yield Place(start, out, into)
        start = buffer_size(Place(start, out, into))


def buffer_size(last: Place) -> int:
    """Numbers in a flat buffer that ends with the layer `last`, filled up to a multiple of ALIGNMENT."""
    return -(-last.end // ALIGNMENT) * ALIGNMENT
