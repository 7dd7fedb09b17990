"""Import of Kaldi's networks: the exported ones, files that were written by hand, training and decoding on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_kaldi_networks import SPEC, binary_words, floats, ints, matrix, network, vector

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.architectures.tdnn import TdnnOptions, make_tdnn
from asr_parallel.nnet.components import Affine, Splice
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.kaldi.import_network import KaldiNetwork
from asr_parallel.nnet.kaldi.nnet3_reader import read_descriptor
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json

TDNN = make_tdnn(TdnnOptions("-1,0,1 -2,2 0", 4, "relu-renorm"), 3, 3, 5)
NETWORKS = {
    "sigmoid": dnn(3, 2, 2, 6, 5, "sigmoid"),
    "tanh": dnn(3, 2, 1, 6, 5, "tanh"),
    "relu": dnn(3, 2, 1, 6, 5, "relu"),
    "relu-renorm": dnn(3, 2, 2, 6, 5, "relu-renorm"),
    "pnorm": dnn(3, 2, 2, 6, 5, "pnorm", pnorm_group=2),
    "tdnn": TDNN,
}
# An LDA of two frames, an affine component and a ReLU of rms 2, whose scale of the output comes before the softmax
LDA_NET = """<Nnet3>
input-node name=input dim=1
component-node name=lda component=lda input=Append(Offset(input, -1), input)
component-node name=tdnn1.affine component=tdnn1.affine input=lda
component-node name=tdnn1.relu component=tdnn1.relu input=tdnn1.affine
component-node name=tdnn1.norm component=tdnn1.norm input=tdnn1.relu
component-node name=output.affine component=output.affine input=tdnn1.norm
component-node name=output.scale component=output.scale input=output.affine
component-node name=output.log-softmax component=output.log-softmax input=output.scale
output-node name=output input=output.log-softmax objective=linear
component-node name=other component=output.affine input=tdnn1.norm
output-node name=output-xent input=other objective=linear

<NumComponents> 7
<ComponentName> lda <FixedAffineComponent> <LinearParams>  [
  1 2
  3 5 ]
<BiasParams>  [ 0.5 -1 ]
</FixedAffineComponent>
<ComponentName> tdnn1.affine <NaturalGradientAffineComponent> <LearningRateFactor> 0.5 <MaxChange> 0.75
<L2Regularize> 0.008 <LearningRate> 0.001 <LinearParams>  [
  1 -1
  2 0.25 ]
<BiasParams>  [ 0.1 0.2 ]
<RankIn> 20 <RankOut> 80 <OrthonormalConstraint> 0 <UpdatePeriod> 4 <NumSamplesHistory> 2000 <Alpha> 4
</NaturalGradientAffineComponent>
<ComponentName> tdnn1.relu <RectifiedLinearComponent> <Dim> 2 <ValueAvg>  [ 0.1 0.2 ]
<DerivAvg>  [ 0.5 0.5 ]
<Count> 100 <OderivRms>  [ ]
<OderivCount> 0 <NumDimsSelfRepaired> 1 <NumDimsProcessed> 2 <SelfRepairScale> 1e-05 </RectifiedLinearComponent>
<ComponentName> tdnn1.norm <NormalizeComponent> <InputDim> 2 <TargetRms> 2 <AddLogStddev> F </NormalizeComponent>
<ComponentName> output.affine <AffineComponent> <LearningRate> 0.001 <LinearParams>  [
  1 0
  0 1
  1 1 ]
<BiasParams>  [ 0 0.5 1 ]
<IsGradient> F </AffineComponent>
<ComponentName> output.scale <FixedScaleComponent> <Scales>  [ 1 0.5 2 ]
</FixedScaleComponent>
<ComponentName> output.log-softmax <LogSoftmaxComponent> <Dim> 3 <ValueAvg>  [ ]
<DerivAvg>  [ ]
<Count> 0 </LogSoftmaxComponent>
</Nnet3>
"""
CONTEXT_AND_PRIORS = "<LeftContext> 1 <RightContext> 0 <Priors>  [ 0.5 0.25 0.25 ]\n"


def lda_posteriors(frames: np.ndarray) -> np.ndarray:
    """Return the log posteriors of LDA_NET for (T, 1) frames; the first is repeated."""
    spliced = np.stack([np.append(frames[:1, 0], frames[:-1, 0]), frames[:, 0]], axis=1)
    lda = spliced @ np.array([[1, 2], [3, 5]]).T + [0.5, -1]
    hidden = np.maximum(lda @ np.array([[1, -1], [2, 0.25]]).T + [0.1, 0.2], 0)
    hidden *= 2 / np.sqrt(np.maximum(np.square(hidden).mean(axis=1, keepdims=True), 2.0**-66))
    logits = (hidden @ np.array([[1, 0], [0, 1], [1, 1]]).T + [0, 0.5, 1]) * [1, 0.5, 2]
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def random_network(spec: NetworkSpec, mean: tuple[float, ...] | None = None, **about: object) -> Network:
    """Return a network of normal random parameters."""
    made = network(spec, mean, "fbank" if mean is None else "kaldi", dim=spec.frame_dim, **about)
    for tensor in made.tensors().values():
        tensor.normal_(generator=torch.Generator().manual_seed(tensor.numel()))
    return made


def write_features(folder: Path, dim: int, kind: dict[str, object]) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    write_archive(folder, [(f"s{n}-u", f"s{n}", random.normal(1, 2, (9 + n, dim))) for n in range(3)])
    write_json(folder / "kind.json", kind)
    return folder


def import_network(*words: str | Path) -> int:
    return main(["import-kaldi-network", *map(str, words)])


@pytest.mark.parametrize(("mean", "text"), [(None, True), ((1.0, -2.0, 3.0), False)])
@pytest.mark.parametrize(
    ("name", "network_format"),
    [*((name, "nnet3") for name in NETWORKS), *((name, "nnet1") for name in NETWORKS if name not in ("pnorm", "tdnn"))],
)
def test_an_exported_network_comes_back(
    tmp_path: Path, name: str, network_format: str, mean: tuple[float, ...] | None, text: bool
) -> None:
    made = random_network(NETWORKS[name], mean)
    made.save(tmp_path / "dnn")
    words = ["export-kaldi", "--model", str(tmp_path / "dnn"), "--out", str(tmp_path / "k")]
    assert main([*words, "--network-format", network_format, *["--text"] * text]) == 0
    file = tmp_path / "k" / ("final.raw" if network_format == "nnet3" else "final.nnet")
    read = KaldiNetwork.read(file, None, None)
    found = read.network(made.normalisation, made.spec.context, made.feature_config, made.log_prior)
    assert found.spec == made.spec and found.normalisation == made.normalisation
    assert (read.log_prior is None) == (network_format == "nnet3")
    np.testing.assert_allclose(found.log_prior, made.log_prior, rtol=1e-6)
    for tensor, expected in zip(found.tensors().values(), made.tensors().values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("text", [False, True])
def test_a_model_with_priors_comes_back(tmp_path: Path, text: bool) -> None:
    from test_export_network import write_folders

    made = random_network(SPEC, (4.0,))
    unseen = dataclasses.replace(made, log_prior=log_priors(np.array([0, 4])))
    dnn_folder, tri = write_folders(tmp_path, unseen)
    words = ["export-kaldi", "--model", str(dnn_folder), "--system", str(tri), "--out", str(tmp_path / "k")]
    assert main([*words, *["--text"] * text]) == 0
    read = KaldiNetwork.read(tmp_path / "k" / "final.mdl", None, None)
    assert read.log_prior is not None
    np.testing.assert_array_equal(read.log_prior.astype(np.float32), unseen.log_prior)


def test_fixed_transforms_are_part_of_the_affine_components(tmp_path: Path) -> None:
    (tmp_path / "final.mdl").write_text(LDA_NET, encoding="utf-8")
    (tmp_path / "counts").write_text(" [ 2 1 1 ]\n", encoding="utf-8")
    feats = write_features(tmp_path / "feats", 1, {"kind": "kaldi", "settings": {"cmvn": "none"}})
    out = tmp_path / "net"
    given = ("--network", tmp_path / "final.mdl", "--class-counts", tmp_path / "counts")
    assert import_network(*given, "--feats", feats, "--out", out) == 0
    model = DnnAcousticModel.open(out)
    assert str(model.network.spec) == "1 x 3 inputs: splice -1,0, affine 2, relu, renorm, affine 3"
    archive = model.open_features(feats)
    frames = np.random.default_rng(0).normal(1, 2, (9, 1)).astype(np.float32)
    np.testing.assert_array_equal(archive[0], frames)  # as Kaldi has them: not normalised
    np.testing.assert_allclose(
        model.log_likelihoods(archive[0]), lda_posteriors(frames) - np.log([0.5, 0.25, 0.25]), rtol=1e-4, atol=1e-5
    )


def test_priors_of_a_model_are_taken(tmp_path: Path) -> None:
    (tmp_path / "net").write_text(LDA_NET + CONTEXT_AND_PRIORS, encoding="utf-8")
    read = KaldiNetwork.read(tmp_path / "net", None, None)
    assert read.log_prior is not None
    np.testing.assert_allclose(read.log_prior, np.log([0.5, 0.25, 0.25]))


def test_binary_fields_of_old_and_new_versions(tmp_path: Path) -> None:
    tail = b"<RankIn> " + ints(20) + b"<RankOut> " + ints(80) + b"<UpdatePeriod> " + ints(4)
    tail += b"<NumSamplesHistory> " + floats(2000) + b"<Alpha> " + floats(4)
    new = b"<LearningRateFactor> " + floats(0.5) + b"<IsGradient> F<MaxChange> " + floats(0.75) + b"<L2Regularize> "
    new += floats(0.01) + b"<LearningRate> " + floats(0.001)
    old = b"<MaxChangePerSample> " + floats(0) + b"<IsGradient> T<UpdateCount> \x08" + bytes(8)
    lines = (
        "input-node name=input dim=1\n"
        "component-node name=a component=a input=input\n"
        "component-node name=b component=b input=Offset(a, -1)\n"
        "component-node name=c component=c input=b\n"
        "output-node name=output input=c objective=linear\n"
    )
    (tmp_path / "final.raw").write_bytes(
        b"\0B<Nnet3> \n" + lines.encode() + b"\n<NumComponents> " + ints(3)
        + b"<ComponentName> a <NaturalGradientAffineComponent> " + new
        + b"<LinearParams> " + matrix(2, 1, 2) + b"<BiasParams> " + vector(3, 4) + tail
        + b"</NaturalGradientAffineComponent> <ComponentName> b <NaturalGradientAffineComponent> <LearningRate> "
        + floats(0.001) + b"<LinearParams> " + matrix(2, 5, 6, 7, 8) + b"<BiasParams> " + vector(9, 10) + tail + old
        + b"</NaturalGradientAffineComponent> " + binary_words("<ComponentName> c <LogSoftmaxComponent> <Dim>")
        + ints(2) + b"<ValueAvg> DV " + ints(1) + bytes(8) + b"<DerivAvg> " + vector() + b"<Count> \x08" + bytes(8)
        + b"</LogSoftmaxComponent> </Nnet3> "
    )  # fmt: skip
    read = KaldiNetwork.read(tmp_path / "final.raw", None, None)
    made = random_network(SPEC).normalisation
    normalisation = dataclasses.replace(made, scale=(1.0,))
    found = read.network(normalisation, None, {"dim": 1}, np.zeros(2))
    assert found.spec == NetworkSpec(1, 1, (Splice((0,)), Affine(2), Splice((-1,)), Affine(2)))
    numbers = [number for tensor in found.tensors().values() for number in tensor.flatten().tolist()]
    assert numbers == list(range(1, 11))


def test_binary_components_of_nnet1(tmp_path: Path) -> None:
    """Read all kinds, with few tokens, most of them without the end that newer files have."""

    def begin(kind: str, outputs: int, inputs: int) -> bytes:
        return f"<{kind}> ".encode() + ints(outputs, inputs)

    (tmp_path / "final.nnet").write_bytes(
        b"\0B<Nnet> " + begin("Splice", 2, 1) + b"\x04\x02\0\0\0\0\0\0\0\x01\0\0\0"
        + begin("Rescale", 2, 2) + vector(2, 3)
        + begin("AffineTransform", 2, 2) + b"<MaxNorm> " + floats(0) + b"<LearnRateCoef> " + floats(1)
        + matrix(2, 1, -1, 0, 1) + vector(1, -2) + begin("Tanh", 2, 2) + b"<!EndOfComponent> "
        + begin("LinearTransform", 2, 2) + b"<LearnRateCoef> " + floats(1) + matrix(2, 0, 1, 1, 0)
        + begin("AddShift", 2, 2) + b"<LearnRateCoef> " + floats(0) + vector(1, 1)
        + begin("AffineTransform", 2, 2) + matrix(2, 1, 2, 3, 4) + vector(0, 0)
        + begin("ParametricRelu", 2, 2) + vector(1, 1) + vector(0, 0) + begin("LengthNormComponent", 2, 2)
        + begin("AffineTransform", 3, 2) + matrix(3, 1, 0, 0, 1, 1, 1) + vector(0, 0, 1)
        + begin("Softmax", 3, 3) + b"</Nnet> "
    )  # fmt: skip
    read = KaldiNetwork.read(tmp_path / "final.nnet", None, None)
    normalisation = dataclasses.replace(random_network(SPEC).normalisation, scale=(1.0,))
    found = read.network(normalisation, None, {"dim": 1}, np.zeros(3))
    assert str(found.spec) == "1 x 3 inputs: splice 0,1, affine 2, tanh, affine 2, relu, renorm, affine 3"
    x = np.array([0.5, 0.25])
    hidden = np.tanh(np.array([[1, -1], [0, 1]]) @ (x * [2, 3]) + [1, -2])
    positive = np.maximum(np.array([[1, 2], [3, 4]]) @ (hidden[::-1] + 1), 0)
    unit = positive / np.linalg.norm(positive)
    expected = [unit[0], unit[1], unit.sum() + 1]
    logits = found.logits(torch.tensor([[9.0, *x]], dtype=torch.float32))
    np.testing.assert_allclose(logits.numpy()[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("input", ("input", (0,))),
        ("Append(Offset(x.y-2, -1), x.y-2, Offset(x.y-2, 3))", ("x.y-2", (-1, 0, 3))),
        ("Offset(Append(a, Offset(a, 2)), -1)", ("a", (-1, 1))),
    ],
)
def test_descriptors(text: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert read_descriptor(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "Append(input, ReplaceIndex(ivector, t, 0))", "Sum(a, b)", "Append(a, b)", "Offset(a)", "Append(a", "a)", "3",
     "Offset(a, b)", "Scale(2, a)", "Append()", "a b"],
)  # fmt: skip
def test_other_descriptors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one node, with Append and Offset alone"):
        read_descriptor(text)


def test_a_training_starts_from_it(tmp_path: Path, frames_folder: Path) -> None:
    store = FrameStore.open(frames_folder)
    spec = dnn(store.dim, store.context, 1, 8, store.num_pdfs)
    prior = log_priors(np.arange(1, store.num_pdfs + 1))
    made = Network(StackedNetwork(spec).initialise(0), prior, store.normalisation, store.feature_config)
    made.save(tmp_path / "dnn")
    words = ["export-kaldi", "--model", str(tmp_path / "dnn"), "--network-format", "nnet1"]
    assert main([*words, "--out", str(tmp_path / "k")]) == 0
    given = ("--network", tmp_path / "k" / "final.nnet", "--frames", frames_folder)
    assert import_network(*given, "--out", tmp_path / "net") == 0
    found = Network.open(tmp_path / "net")
    np.testing.assert_allclose(found.log_prior, prior, rtol=1e-6)
    train = ["train-dnn", "--frames", str(frames_folder), "--hidden-layers", "1", "--hidden-dim", "8"]
    train += ["--nonlinearity", "sigmoid", "--epochs", "1", "--start", str(tmp_path / "net")]
    assert main([*train, "--out", str(tmp_path / "later")]) == 0
    (tmp_path / "k" / "ali_train_pdf.counts").unlink()
    assert import_network(*given, "--out", tmp_path / "net") == 0
    labels = store.labels[store.labels >= 0]
    counted = log_priors(np.bincount(labels, minlength=store.num_pdfs))
    np.testing.assert_array_equal(Network.open(tmp_path / "net").log_prior, counted)
