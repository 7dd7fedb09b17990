"""Bad input of import-kaldi-network: one clear line, and nothing half-written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_export_network import refusal_of
from test_kaldi_network_import import CONTEXT_AND_PRIORS, LDA_NET, write_features
from test_kaldi_networks import NNET1, TRANSFORM

from asr_parallel.cli.main import main

Edit = Callable[[str], str]
KALDI = {"kind": "kaldi", "settings": {"cmvn": "mean"}}


def swap(old: str, new: str) -> Edit:
    def apply(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return apply


NNET3_FAULTS: dict[str, tuple[Edit, str]] = {
    "empty": (lambda _: "", "expected <Nnet> of nnet1, or <Nnet3> or <TransitionModel> of nnet3, found the end"),
    "something else": (lambda _: "ContextDependency 1 0", "expected <Nnet> of nnet1, or <Nnet3>"),
    "no line's end": (swap("<Nnet3>\n", "<Nnet3> "), "expected the end of a line, found ' input"),
    "negative priors": (swap("[ 0.5 0.25 0.25 ]", "[ 0.5 -1 0.25 ]"), "expected priors of 0 or more"),
    "truncated lines": (lambda text: text[:300], "expected lines, and an empty one after them"),
    "truncated matrix": (lambda text: text[: text.index("3 5 ]")], "expected rows of numbers, of equal lengths, and ]"),
    "truncated network": (lambda text: text[: text.index("</Nnet3>")], "expected </Nnet3>, found "),
    "rows of other lengths": (swap("3 5 ]", "3 5 6 ]"), "expected rows of numbers, of equal lengths, and ]"),
    "an unknown kind": (
        lambda text: text.replace("RectifiedLinearComponent", "BatchNormComponent"),
        "expected a component of NaturalGradientAffineComponent, AffineComponent",
    ),
    "an unknown field": (swap("<RankIn>", "<Rank>"), "expected a field of NaturalGradientAffineComponent, or its end"),
    "a field missing": (swap("<Dim> 2 <ValueAvg>", "<ValueAvg>"), "tdnn1.relu: no <InputDim> in a Rectified"),
    "i-vectors": (
        swap("input=Append(Offset(input, -1), input)", "input=Append(input, ReplaceIndex(ivector, t, 0))"),
        "input=Append(input, ReplaceIndex(ivector, t, 0)): expected one node, with Append and Offset alone",
    ),
    "a cycle": (swap("component=lda input=Append(Offset(input, -1), input)", "component=lda input=tdnn1.relu"),
                "a recurrent network; expected one without cycles"),
    "offsets out of order": (swap("Append(Offset(input, -1), input)", "Append(input, Offset(input, -1))"),
                             "expected different offsets in ascending order"),
    "a node that is not there": (swap("input=lda", "input=nowhere"), "tdnn1.affine reads nowhere, which the network"),
    "a component that is not there": (swap("component=lda", "component=pca"), "no component 'pca', which node lda"),
    "a part of a node": (
        swap("component-node name=lda component=lda", "dim-range-node name=lda input-node=input dim=1 dim-offset=0"),
        "a dim-range-node, lda; expected components alone",
    ),
    "no output": (swap("output-node name=output ", "output-node name=out "), "0 nodes of the name output; expected"),
    "a chain model's output": (swap("input=output.log-softmax objective", "input=output.scale objective"),
                               "the output comes from FixedScaleComponent; expected log posteriors, from LogSoftmax"),
    "inputs that do not fit": (swap("input=Append(Offset(input, -1), input)", "input=input"),
                               "component lda: a FixedAffineComponent of 2 inputs; expected 1, as come before it"),
    "biases that do not fit": (swap("[ 0.5 -1 ]", "[ 0.5 ]"), "component lda: an affine transform of 2 rows and 1"),
    "a nonlinearity that does not fit": (swap("<InputDim> 2", "<InputDim> 3"), "tdnn1.norm: a NormalizeComponent of 3"),
    "a parameter that is not finite": (swap("0.1 0.2 ]\n<RankIn>", "nan 0.2 ]\n<RankIn>"), "a parameter is not finite"),
    "the standard deviation": (swap("<AddLogStddev> F", "<AddLogStddev> T"), "with the standard deviation; expected"),
    "other features": (swap("name=input dim=1", "name=input dim=2"), "lda: a FixedAffineComponent of 2 inputs; expec"),
    "a scale before a nonlinearity": (
        swap("component=tdnn1.relu input=tdnn1.affine", "component=tdnn1.relu input=tdnn1.norm2\n"
             "component-node name=tdnn1.norm2 component=tdnn1.norm input=tdnn1.affine"),
        "a fixed transform before relu: expected it next to an affine component",
    ),
    "no priors": (swap(CONTEXT_AND_PRIORS, ""), "no priors; expected --class-counts, or a frame store"),
    "priors of other pdfs": (swap("[ 0.5 0.25 0.25 ]", "[ 0.5 0.5 ]"), "a network of 3 pdfs; its priors are of 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", NNET3_FAULTS)
def test_a_bad_nnet3_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    change, message = NNET3_FAULTS[fault]
    path = tmp_path / "final.raw"
    path.write_text(change(LDA_NET + CONTEXT_AND_PRIORS), encoding="utf-8")
    feats = write_features(tmp_path / "feats", 1, KALDI)
    line = refusal_of(capsys, "import-kaldi-network", "--network", path, "--feats", feats, "--out", tmp_path / "net")
    assert f"{path}: " in line and message in line and not (tmp_path / "net").exists()


NNET1_FAULTS: dict[str, tuple[str, Edit, str]] = {
    "truncated": ("final.nnet", lambda text: text[:200], "final.nnet: byte "),
    "an unknown kind": ("final.nnet", swap("<ParametricRelu>", "<LstmProjected>"), "expected a component of <AffineTr"),
    "no softmax": ("final.nnet", swap("<Softmax> 2 2 <!EndOfComponent>", ""), "expected <Softmax> as the last"),
    "more after the softmax": ("final.nnet", swap("</Nnet>", "<Sigmoid> 2 2 </Nnet>"), "expected </Nnet> after <Softm"),
    "slopes": ("final.nnet", swap("[ 0 0 ]", "[ 0 0.1 ]"), "whose slopes are not 1 and 0; expected a ReLU"),
    "a row too many": ("final.nnet", swap("[ 5 6 ]", "[ 5 6 7 ]"), "an affine transform of 2 rows and 3 biases"),
    "other columns": ("final.nnet", swap("[ 1 2\n 3 4 ]", "[ 1\n 2 ]"), "a matrix of 1 columns; expected 2"),
    "other inputs": ("final.nnet", swap("<ParametricRelu> 2 2", "<ParametricRelu> 3 3"), "of 3 inputs; expected 2"),
    "other outputs": ("final.nnet", swap("<Softmax> 2 2", "<Softmax> 3 2"), "a <Softmax> of 3 outputs, which has 2"),
    "a transform of others": ("final.feature_transform", swap("<Splice> 2 1 [ -1 1 ]", "<Splice> 3 1 [ -1 0 1 ]"),
                              "an affine transform of 2 inputs; expected 3, as come before it"),
    "a transform with softmax": ("final.feature_transform", swap("</Nnet>", "<Softmax> 2 2 </Nnet>"), "a component of"),
    "offsets": ("final.feature_transform", swap("[ -1 1 ]", "[ 1 -1 ]"), "expected different offsets in ascending"),
    "negative counts": ("ali_train_pdf.counts", swap("[ 1 3 ]", "[ -1 3 ]"), "expected counts of frames, 0 or more"),
    "no counts": ("ali_train_pdf.counts", swap("[ 1 3 ]", "[ 0 0 ]"), "expected counts of frames, 0 or more"),
    "counts of others": ("ali_train_pdf.counts", swap("[ 1 3 ]", "[ 1 3 4 ]"), "2 pdfs; its priors are of 3"),
    "variances": ("cmvn_opts", swap("vars=false", "vars=true"), "means true variances true; in "),
    "unknown normalisation": ("cmvn_opts", swap("--norm-vars", "--reverse"), "'--reverse=false'; expected --norm-mean"),
}  # fmt: skip


def write_nnet1(folder: Path) -> Path:
    """Write the folder of an nnet1 network as Kaldi has it."""
    network = NNET1.replace("[ 1 2 3 4 ]", "[ 1 2\n 3 4 ]").replace("[ 7 8 9 10 ]", "[ 7 8\n 9 10 ]")
    for name, text in {
        "final.nnet": network,
        "final.feature_transform": TRANSFORM,
        "ali_train_pdf.counts": " [ 1 3 ]\n",
        "cmvn_opts": "--norm-means=true --norm-vars=false\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "final.nnet"


@pytest.mark.parametrize("fault", NNET1_FAULTS)
def test_a_bad_nnet1_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    name, change, message = NNET1_FAULTS[fault]
    network = write_nnet1(tmp_path)
    (tmp_path / name).write_text(change((tmp_path / name).read_text(encoding="utf-8")), encoding="utf-8")
    feats = write_features(tmp_path / "feats", 1, KALDI)
    line = refusal_of(capsys, "import-kaldi-network", "--network", network, "--feats", feats, "--out", tmp_path / "net")
    assert message in line and not (tmp_path / "net").exists()


def test_sizes_and_normalisation_that_are_not_the_frame_stores_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames_folder: Path
) -> None:
    network = write_nnet1(tmp_path)
    given = ("import-kaldi-network", "--out", tmp_path / "net")
    store = (*given, "--frames", frames_folder)
    assert "a network of 1 features a frame; expected 3" in refusal_of(capsys, *store, "--network", network)
    (tmp_path / "cmvn_opts").write_text("--norm-means=false\n", encoding="utf-8")
    line = refusal_of(capsys, *store, "--network", network)
    assert f"means false variances false; in {frames_folder}: means true variances false" in line
    (tmp_path / "cmvn_opts").write_text("--norm-means=false --norm-vars=true\n", encoding="utf-8")
    feats = write_features(tmp_path / "feats", 1, {"kind": "fbank"})
    assert "variances without means" in refusal_of(capsys, *given, "--feats", feats, "--network", network)
    raw = tmp_path / "final.raw"
    raw.write_text(LDA_NET, encoding="utf-8")
    transform = ("--feature-transform", tmp_path / "final.feature_transform")
    line = refusal_of(capsys, *given, "--feats", feats, "--network", raw, *transform)
    assert f"--feature-transform is of no use to {raw}, of nnet3" in line
    assert "no such file" in refusal_of(capsys, *store, "--network", tmp_path / "nowhere")
    assert "no such file" in refusal_of(capsys, *store, "--network", network, "--class-counts", tmp_path / "nowhere")
    assert not (tmp_path / "net").exists()


def test_a_network_that_is_fine(tmp_path: Path) -> None:
    network, feats = write_nnet1(tmp_path), write_features(tmp_path / "feats", 1, KALDI)
    words = ["import-kaldi-network", "--network", network, "--feats", feats, "--out", tmp_path / "net"]
    assert main([*map(str, words)]) == 0
