"""Reader of networks in the format of Kaldi's nnet1 (Kaldi: src/nnet/nnet-component.cc), and of feature transforms."""

from collections.abc import Callable

import numpy as np

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.nnet.components import Relu, Renorm, Sigmoid, Splice, Tanh
from asr_parallel.nnet.kaldi.parts import Linear, Part

KINDS = (
    "<AffineTransform>", "<LinearTransform>", "<Sigmoid>", "<Tanh>", "<ParametricRelu>", "<LengthNormComponent>",
    "<Rescale>", "<AddShift>", "<Splice>", "<Softmax>",
)  # fmt: skip
FACTORS = (
    "<LearnRateCoef>", "<BiasLearnRateCoef>", "<MaxNorm>", "<AlphaLearnRateCoef>", "<BetaLearnRateCoef>",
)  # fmt: skip


def read_nnet1(reader: ObjectReader, transform: bool = False) -> tuple[int, list[Part]]:
    """Read a network, which ends in a softmax, or a feature transform; return its inputs and its parts in order.

    Raises:
        ValueError: another format, truncated, or a component of an unknown kind.
    """
    reader.expect("<Nnet>")
    parts: list[Part] = []
    inputs = dim = 0
    softmax = False
    while reader.peek() != "</Nnet>":
        if softmax:
            reader.fail("</Nnet> after <Softmax>")
        kind = reader.peek()
        if kind not in KINDS or (kind == "<Softmax>" and transform):
            reader.fail(f"a component of {', '.join(KINDS[:-1] if transform else KINDS)}")
        reader.token()
        outputs, own = reader.integer(), reader.integer()
        if own < 1 or (dim and own != dim):
            reader.refuse(f"a {kind} of {own} inputs; expected {dim or 'some'}, as come before it")
        inputs = inputs or own
        softmax = kind == "<Softmax>"
        dim = own
        for part in [] if softmax else _read_parts(reader, kind, own):
            parts.append(part)
            dim = len(part.bias) if isinstance(part, Linear) else part.output_dim(dim)
        if dim != outputs:
            reader.refuse(f"a {kind} of {outputs} outputs, which has {dim}")
        if reader.peek() == "<!EndOfComponent>":  # older files have none
            reader.token()
    if not (softmax or transform):
        reader.fail("<Softmax> as the last component")
    reader.expect("</Nnet>")
    return inputs, parts


def _read_parts(reader: ObjectReader, kind: str, dim: int) -> list[Part]:
    if kind == "<Sigmoid>":
        return [Sigmoid()]
    if kind == "<Tanh>":
        return [Tanh()]
    if kind == "<LengthNormComponent>":  # to a length of 1
        return [Renorm(), Linear.scale(np.full(dim, dim**-0.5))]
    while reader.peek() in FACTORS:
        reader.token()
        reader.real()
    if kind == "<Splice>":
        offsets = reader.integers()
        return [_made(reader, lambda: Splice(tuple(offsets)))]
    if kind == "<ParametricRelu>":
        positive, negative = reader.reals(), reader.reals()
        if len(positive) != dim or (positive != 1).any() or (negative != 0).any():
            reader.refuse("a <ParametricRelu> whose slopes are not 1 and 0; expected a ReLU")
        return [Relu()]
    if kind in ("<Rescale>", "<AddShift>"):
        values = reader.reals()
        return [_made(reader, lambda: (Linear.scale if kind == "<Rescale>" else Linear.shift)(values))]
    weight = reader.matrix()
    bias = reader.reals() if kind == "<AffineTransform>" else np.zeros(len(weight))
    if weight.shape[1] != dim:
        reader.refuse(f"a matrix of {weight.shape[1]} columns; expected {dim}")
    return [_made(reader, lambda: Linear(weight, bias, kind == "<AffineTransform>"))]


def _made(reader: ObjectReader, make: Callable[[], Part]) -> Part:
    """Return what `make` makes; a ValueError of it tells the place."""
    try:
        return make()
    except ValueError as error:
        reader.refuse(str(error))
