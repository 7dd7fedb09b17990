"""Export of networks for Kaldi by the verb: folders, log-likelihoods and faults."""

from pathlib import Path

import numpy as np
import pytest
from test_kaldi_networks import NNET3, Negative, network, text

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.architectures.tdnn import TdnnOptions, make_tdnn
from asr_parallel.nnet.components import Affine, Splice
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.ensemble_network import save_ensemble
from asr_parallel.nnet.kaldi.nnet3 import write_am_nnet3
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.record.files import write_json


def write_folders(folder: Path, made: Network) -> tuple[Path, Path]:
    """Write a network, and a system of as many pdfs: one phone of two states."""
    made.save(folder / "dnn")
    topology = Topology.of_phones([], [1], num_nonsilence_states=2)
    tree = monophone_tree(topology)
    tree.save(folder / "tri")
    TransitionModel.build(topology, tree).save(folder / "tri")
    return folder / "dnn", folder / "tri"


def export(*words: str | Path) -> int:
    return main(["export-kaldi", *map(str, words)])


def test_a_folder_for_nnet3(tmp_path: Path) -> None:
    dnn_folder, tri = write_folders(tmp_path, network(settings={"cmvn": "mean-var"}))
    assert export("--model", dnn_folder, "--system", tri, "--out", tmp_path / "k", "--text") == 0
    words = (tmp_path / "k" / "final.mdl").read_text(encoding="utf-8").split()
    middle = words.index("</TransitionModel>") + 1
    assert words[middle:] == text(write_am_nnet3, network())
    assert (tmp_path / "k" / "final.raw").read_text(encoding="utf-8").split() == NNET3.split()
    KaldiTree.read(tmp_path / "k" / "tree").check(KaldiTransitionModel.read(tmp_path / "k" / "final.mdl"))
    assert (tmp_path / "k" / "cmvn_opts").read_text(encoding="utf-8") == "--norm-means=true --norm-vars=true\n"


def test_a_folder_for_nnet1(tmp_path: Path) -> None:
    dnn_folder, tri = write_folders(tmp_path, network(mean=None, kind="fbank"))
    assert export("--model", dnn_folder, "--system", tri, "--out", tmp_path / "k", "--network-format", "nnet1") == 0
    out = tmp_path / "k"
    assert KaldiTransitionModel.read(out / "final.mdl").num_pdfs == 2
    assert (out / "final.mdl").read_bytes().endswith(b"</TransitionModel> ")
    np.testing.assert_allclose(ObjectReader(out / "ali_train_pdf.counts").reals(), [0.25, 0.75], rtol=1e-6)
    assert (out / "final.nnet").read_bytes().startswith(b"\0B<Nnet> <AffineTransform> ")
    assert (out / "final.feature_transform").read_bytes().startswith(b"\0B<Nnet> <Rescale> ")
    assert (out / "cmvn_opts").read_text(encoding="utf-8") == "--norm-means=true --norm-vars=false\n"


def test_a_network_without_system_has_no_transition_model(tmp_path: Path) -> None:
    dnn_folder, _ = write_folders(tmp_path, network())
    assert export("--model", dnn_folder, "--out", tmp_path / "k") == 0
    assert sorted(path.name for path in (tmp_path / "k").glob("[!.]*")) == ["cmvn_opts", "final.raw", "stage.json"]


def test_log_likelihoods_are_those_of_decoding(tmp_path: Path) -> None:
    io = pytest.importorskip("kaldi_native_io")
    dnn_folder, _ = write_folders(tmp_path, network(mean=None, kind="fbank"))
    random = np.random.default_rng(0)
    matrices = {f"{s}-{n}": random.normal(size=(5 + n, 1)).astype(np.float32) for s in ("b", "a") for n in (1, 0)}
    feats, out = tmp_path / "feats", tmp_path / "loglikes"
    feats.mkdir()
    write_archive(feats, [(u, u[0], m) for u, m in matrices.items()])
    write_json(feats / "kind.json", {"kind": "fbank"})
    assert export("--feats", feats, "--loglikes-of", dnn_folder, "--out", out) == 0
    model = DnnAcousticModel.open(dnn_folder)
    archive = model.open_features(feats)
    expected = {u: model.log_likelihoods(archive[n]) for n, u in enumerate(archive.ids)}
    with io.SequentialFloatMatrixReader(f"scp:{out}/loglikes.scp") as reader:
        found = [(key, np.array(matrix)) for key, matrix in reader]
    assert [key for key, _ in found] == sorted(matrices)
    assert all(np.array_equal(matrix, expected[key]) for key, matrix in found)


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return the one line of an export that fails."""
    return refusal_of(capsys, "export-kaldi", *words)


def refusal_of(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return the one line of a command that fails."""
    assert main([*map(str, words)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize(
    ("spec", "network_format", "message"),
    [
        (dnn(1, 1, 1, 4, 2, "pnorm", pnorm_group=2), "nnet1", "component pnorm 2: Kaldi's nnet1 format has none like"),
        (make_tdnn(TdnnOptions("-1,0,1 -2,2", 3), 1, 3, 2), "nnet1", "component splice -2,2: Kaldi's nnet1 format"),
        (NetworkSpec(1, 0, (Splice((0,)), Negative(), Affine(2))), "nnet1", "component negative: Kaldi's nnet1"),
        (NetworkSpec(1, 0, (Splice((0,)), Negative(), Affine(2))), "nnet3", "component negative: Kaldi's nnet3"),
        (NetworkSpec(1, 2, (Splice((-1, 1)), Splice((-1, 1)), Affine(2))), "nnet3", "a splice of a splice"),
    ],
)
def test_what_a_format_cannot_hold_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: NetworkSpec, network_format: str, message: str
) -> None:
    dnn_folder, _ = write_folders(tmp_path, network(spec, None))
    line = refusal(capsys, "--model", dnn_folder, "--out", tmp_path / "k", "--network-format", network_format)
    assert f"{dnn_folder}: {message}" in line and not (tmp_path / "k").exists()


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dnn_folder, tri = write_folders(tmp_path, network(dnn(1, 1, 1, 4, 3), None))
    out = ("--out", tmp_path / "k")
    line = refusal(capsys, "--model", dnn_folder, "--system", tri, *out)
    assert f"a network of 3 pdfs; {tri} has 2" in line
    assert "no tree.json" in refusal(capsys, "--model", dnn_folder, "--system", dnn_folder, *out)
    assert "--num-jobs is of no use to a network" in refusal(capsys, "--model", dnn_folder, "--num-jobs", "2", *out)
    assert "--lang is of no use to a network alone" in refusal(capsys, "--model", dnn_folder, "--lang", tri, *out)
    assert "--system is of no use to a GMM" in refusal(capsys, "--model", tri, "--system", tri, *out)
    assert "--loglikes-of is of no use to a model" in refusal(capsys, "--model", tri, "--loglikes-of", tri, *out)
    save_ensemble(dnn_folder, [0], "posterior", [np.zeros(3, dtype=np.float32)])
    line = refusal(capsys, "--model", dnn_folder, *out)
    assert f"{dnn_folder}: an ensemble; expected a network, such as {dnn_folder / '0'}" in line
    assert not (tmp_path / "k").exists()
