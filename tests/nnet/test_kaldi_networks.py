"""Networks in Kaldi's formats: bytes derived by hand from its Write functions, and faults."""

import struct
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.architectures.tdnn import TdnnOptions, make_tdnn
from asr_parallel.nnet.components import Affine, Binding, Component, Relu, Saved, Splice
from asr_parallel.nnet.kaldi.nnet1 import class_frame_counts, write_feature_transform, write_nnet1
from asr_parallel.nnet.kaldi.nnet3 import write_am_nnet3, write_nnet3
from asr_parallel.nnet.network import NEVER_CHOSEN, Network, log_priors
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork

COUNTS = np.array([1, 3])
SPEC = NetworkSpec(1, 1, (Splice((-1, 1)), Affine(2), Relu(), Affine(2)))
NNET3 = """<Nnet3> 
input-node name=input dim=1
component-node name=shift component=shift input=input
component-node name=scale component=scale input=shift
component-node name=affine0 component=affine0 input=Append(Offset(scale, -1), Offset(scale, 1))
component-node name=relu0 component=relu0 input=affine0
component-node name=affine1 component=affine1 input=relu0
component-node name=log-softmax component=log-softmax input=affine1
output-node name=output input=log-softmax objective=linear

<NumComponents> 6
<ComponentName> shift <FixedBiasComponent> <Bias> [ -4 ] </FixedBiasComponent>
<ComponentName> scale <FixedScaleComponent> <Scales> [ 0.5 ] </FixedScaleComponent>
<ComponentName> affine0 <NaturalGradientAffineComponent> <LearningRate> 0.001
<LinearParams> [ 1 2 3 4 ] <BiasParams> [ 5 6 ] TAIL </NaturalGradientAffineComponent>
<ComponentName> relu0 <RectifiedLinearComponent> <Dim> 2 UNTRAINED </RectifiedLinearComponent>
<ComponentName> affine1 <NaturalGradientAffineComponent> <LearningRate> 0.001
<LinearParams> [ 7 8 9 10 ] <BiasParams> [ 11 12 ] TAIL </NaturalGradientAffineComponent>
<ComponentName> log-softmax <LogSoftmaxComponent> <Dim> 2 UNTRAINED </LogSoftmaxComponent> </Nnet3>
""".replace("TAIL", "<RankIn> 20 <RankOut> 80 <UpdatePeriod> 4 <NumSamplesHistory> 2000 <Alpha> 4").replace(
    "UNTRAINED",
    "<ValueAvg> [ ] <DerivAvg> [ ] <Count> 0 <OderivRms> [ ] <OderivCount> 0"
    " <NumDimsSelfRepaired> 0 <NumDimsProcessed> 0",
)
NNET1 = """<Nnet>
<AffineTransform> 2 2 <LearnRateCoef> 1 <BiasLearnRateCoef> 1 <MaxNorm> 0 [ 1 2 3 4 ] [ 5 6 ] <!EndOfComponent>
<ParametricRelu> 2 2 <AlphaLearnRateCoef> 0 <BetaLearnRateCoef> 0 [ 1 1 ] [ 0 0 ] <!EndOfComponent>
<AffineTransform> 2 2 <LearnRateCoef> 1 <BiasLearnRateCoef> 1 <MaxNorm> 0 [ 7 8 9 10 ] [ 11 12 ] <!EndOfComponent>
<Softmax> 2 2 <!EndOfComponent>
</Nnet>"""
TRANSFORM = """<Nnet>
<AddShift> 1 1 <LearnRateCoef> 0 [ -4 ] <!EndOfComponent>
<Rescale> 1 1 <LearnRateCoef> 0 [ 0.5 ] <!EndOfComponent>
<Splice> 2 1 [ -1 1 ] <!EndOfComponent>
</Nnet>"""


@dataclass(frozen=True)
class Negative(Component, kind="negative"):
    """y = -x: a component that Kaldi knows nothing of."""

    def forward(self, x: torch.Tensor, own: Binding) -> tuple[torch.Tensor, Saved]:
        return -x, ()

    def backward(self, derivative: torch.Tensor, saved: Saved, own: Binding) -> torch.Tensor:
        return -derivative


def network(
    spec: NetworkSpec = SPEC, mean: tuple[float, ...] | None = (4.0,), kind: str = "kaldi", **about: object
) -> Network:
    """Return a network whose parameters count from 1."""
    scale = (0.5,) * spec.frame_dim
    priors = log_priors(np.resize(COUNTS, spec.num_pdfs))
    made = Network(StackedNetwork(spec), priors, Normalisation(kind, False, scale, mean), {"kind": kind, **about})
    start = 1.0
    for tensor in made.tensors().values():
        tensor.copy_(torch.arange(start, start + tensor.numel()).view_as(tensor))
        start += tensor.numel()
    return made


def text(write: object, made: Network) -> list[str]:
    """Return the words of the text format."""
    out = ObjectWriter(binary=False)
    write(out, made)  # type: ignore[operator]
    return out.data.decode().split()


def binary_words(words: str) -> bytes:
    """Return a format's words in binary: those between the numbers, vectors and matrices, which stand as bytes."""
    return b"".join(word.encode() + b" " for word in words.split())


def ints(*values: int) -> bytes:
    return b"".join(struct.pack("<bi", 4, value) for value in values)


def floats(*values: float) -> bytes:
    return b"".join(struct.pack("<bf", 4, value) for value in values)


def vector(*values: float) -> bytes:
    return b"FV " + ints(len(values)) + struct.pack(f"<{len(values)}f", *values)


def matrix(rows: int, *values: float) -> bytes:
    return b"FM " + ints(rows, len(values) // rows) + struct.pack(f"<{len(values)}f", *values)


def test_nnet3_as_text_is_what_was_derived_by_hand() -> None:
    assert text(write_nnet3, network()) == NNET3.split()
    lines = ObjectWriter(binary=False)
    write_nnet3(lines, network())
    assert lines.data.decode().startswith("\n".join(NNET3.split("\n")[:10]))  # its lines, and the empty one after them


def test_nnet3_in_binary_is_what_was_derived_by_hand() -> None:
    out = ObjectWriter(binary=True)
    write_nnet3(out, network())
    lines, _, _ = NNET3.partition("<NumComponents>")

    def affine(name: str, weight: bytes, bias: bytes) -> bytes:
        return (
            binary_words(f"<ComponentName> {name} <NaturalGradientAffineComponent> <LearningRate>") + floats(0.001)
            + b"<LinearParams> " + weight + b"<BiasParams> " + bias
            + b"<RankIn> " + ints(20) + b"<RankOut> " + ints(80) + b"<UpdatePeriod> " + ints(4)
            + b"<NumSamplesHistory> " + floats(2000) + b"<Alpha> " + floats(4) + b"</NaturalGradientAffineComponent> "
        )  # fmt: skip

    def plain(name: str, kind: str) -> bytes:
        return (
            binary_words(f"<ComponentName> {name} <{kind}> <Dim>") + ints(2)
            + b"<ValueAvg> " + vector() + b"<DerivAvg> " + vector() + b"<Count> " + floats(0)
            + b"<OderivRms> " + vector() + b"<OderivCount> " + floats(0)
            + b"<NumDimsSelfRepaired> " + floats(0) + b"<NumDimsProcessed> " + floats(0) + binary_words(f"</{kind}>")
        )  # fmt: skip

    expected = (
        b"\0B" + lines.encode() + b"<NumComponents> " + ints(6)
        + binary_words("<ComponentName> shift <FixedBiasComponent> <Bias>") + vector(-4) + b"</FixedBiasComponent> "
        + binary_words("<ComponentName> scale <FixedScaleComponent> <Scales>") + vector(0.5)
        + b"</FixedScaleComponent> "
        + affine("affine0", matrix(2, 1, 2, 3, 4), vector(5, 6)) + plain("relu0", "RectifiedLinearComponent")
        + affine("affine1", matrix(2, 7, 8, 9, 10), vector(11, 12)) + plain("log-softmax", "LogSoftmaxComponent")
        + b"</Nnet3> "
    )  # fmt: skip
    assert bytes(out.data) == expected


def test_context_and_priors_come_after_the_network() -> None:
    made = network()
    words = text(write_am_nnet3, made)
    assert words[: len(NNET3.split())] == NNET3.split()
    tail = words[words.index("<LeftContext>") :]
    assert tail[:6] == ["<LeftContext>", "1", "<RightContext>", "1", "<Priors>", "["]
    np.testing.assert_allclose([float(word) for word in tail[6:-1]], [0.25, 0.75], rtol=1e-6)


def test_a_pdf_that_was_never_seen_has_the_largest_prior_of_the_format() -> None:
    made = network()
    unseen = Network(made.net, log_priors(np.array([0, 4])), made.normalisation)
    assert text(write_am_nnet3, unseen)[-3:] == [f"{np.finfo(np.float32).max:.9g}", "1", "]"]
    assert class_frame_counts(unseen.log_prior).tolist() == [0, 1]
    assert unseen.log_prior[0] == np.float32(NEVER_CHOSEN)


def test_counts_give_the_priors_again() -> None:
    counts = np.array([5, 0, 2, 10_000_000, 1])
    again = log_priors(class_frame_counts(log_priors(counts)))
    np.testing.assert_allclose(again, log_priors(counts), rtol=1e-6)


@pytest.mark.parametrize(
    ("nonlinearity", "expected"),
    [
        ("sigmoid", ["<SigmoidComponent> <Dim> 4"]),
        ("tanh", ["<TanhComponent> <Dim> 4"]),
        (
            "relu-renorm",
            [
                "<RectifiedLinearComponent> <Dim> 4",
                "<NormalizeComponent> <InputDim> 4 <TargetRms> 1 <AddLogStddev> F </NormalizeComponent>",
            ],
        ),
        (
            "pnorm",
            ["<PnormComponent> <InputDim> 8 <OutputDim> 4 </PnormComponent>", "<NormalizeComponent> <InputDim> 4"],
        ),
    ],
)
def test_nonlinearities_of_nnet3(nonlinearity: str, expected: list[str]) -> None:
    words = " ".join(text(write_nnet3, network(dnn(1, 1, 1, 4, 2, nonlinearity, pnorm_group=2), None)))
    assert all(found in words for found in expected)
    assert "shift" not in words and "input=Append(Offset(scale, -1), scale, Offset(scale, 1))" in words


def test_a_time_delay_network_splices_its_layers() -> None:
    options = TdnnOptions(splice_indexes="-1,0,1 -2,2 0", hidden_dim=3, nonlinearity="relu")
    words = " ".join(text(write_am_nnet3, network(make_tdnn(options, 1, 3, 2), None)))
    assert "name=affine1 component=affine1 input=Append(Offset(relu0, -2), Offset(relu0, 2)) component-node" in words
    assert "name=affine2 component=affine2 input=relu1 " in words
    assert "<LeftContext> 3 <RightContext> 3" in words


def test_nnet1_is_what_was_derived_by_hand() -> None:
    assert text(write_nnet1, network()) == NNET1.split()
    assert text(write_feature_transform, network()) == TRANSFORM.split()
    out = ObjectWriter(binary=True)
    write_feature_transform(out, network())
    assert bytes(out.data) == (
        b"\0B<Nnet> <AddShift> " + ints(1, 1) + b"<LearnRateCoef> " + floats(0) + vector(-4) + b"<!EndOfComponent> "
        b"<Rescale> " + ints(1, 1) + b"<LearnRateCoef> " + floats(0) + vector(0.5) + b"<!EndOfComponent> "
        b"<Splice> " + ints(2, 1) + b"\x04\x02\0\0\0\xff\xff\xff\xff\x01\0\0\0<!EndOfComponent> </Nnet> "
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nonlinearity", "expected"),
    [
        ("sigmoid", "<Sigmoid> 4 4 <!EndOfComponent>"),
        ("tanh", "<Tanh> 4 4 <!EndOfComponent>"),
        (  # to a length of 1, which is a root mean square of 1 / 2
            "relu-renorm",
            "<LengthNormComponent> 4 4 <!EndOfComponent> <Rescale> 4 4 <LearnRateCoef> 0 [ 2 2 2 2 ] <!EndOfComponent>",
        ),
    ],
)
def test_nonlinearities_of_nnet1(nonlinearity: str, expected: str) -> None:
    assert expected in " ".join(text(write_nnet1, network(dnn(1, 1, 1, 4, 2, nonlinearity), None)))
