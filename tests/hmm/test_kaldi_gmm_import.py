"""Import of Kaldi's GMM systems: the exported ones, a mixture written by hand, and faults."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_parallel.cli.main import main
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.kaldi.gmm_reader import read_gmm
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree, monophone_tree
from asr_parallel.record.files import read_json

TEXT = """<DIMENSION> 3 <NUMPDFS> 1 <DiagGMM> <WEIGHTS>  [ 0.25 0.75 ]
<MEANS_INVVARS>  [
  1 2 3
  2 4 6 ]
<INV_VARS>  [
  0.5 0.5 1
  2 1 4 ]
</DiagGMM>
"""


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """A system of one phone with two states, and the same exported: folders tri and kaldi."""
    topology = Topology.of_phones([], [1], num_nonsilence_states=2)
    tree = monophone_tree(topology)
    (tmp_path / "tri").mkdir()
    tree.save(tmp_path / "tri")
    TransitionModel.build(topology, tree).save(tmp_path / "tri")
    random = np.random.default_rng(0)
    values = [random.uniform(0.5, 2, (3, 6)).astype(np.float32) for _ in range(2)]
    weights = torch.tensor([1.0, 0.25, 0.75])
    gmm = DiagGmmSet(weights, torch.from_numpy(values[0]), torch.from_numpy(values[1]), np.array([0, 1, 3]))
    gmm.save(tmp_path / "tri")
    (tmp_path / "tri" / "phones.txt").write_text("<eps> 0\na 1\n", encoding="utf-8")
    words = ["export-kaldi", "--model", str(tmp_path / "tri"), "--out", str(tmp_path / "kaldi"), "--text"]
    assert main(words) == 0
    return tmp_path


def run(folder: Path) -> int:
    return main(["import-kaldi-gmm", "--system", str(folder / "kaldi"), "--out", str(folder / "out")])


@pytest.mark.parametrize("text", [False, True])
def test_an_exported_system_comes_back(kaldi: Path, text: bool) -> None:
    if not text:
        assert main(["export-kaldi", "--model", str(kaldi / "tri"), "--out", str(kaldi / "kaldi")]) == 0
    assert run(kaldi) == 0
    own, found = (DiagGmmSet.open(kaldi / name) for name in ("tri", "out"))
    for name in ("weights", "means", "variances"):
        torch.testing.assert_close(getattr(found, name), getattr(own, name), rtol=1e-6, atol=1e-6)
    assert found.offsets.tolist() == [0, 1, 3] and found.offsets.dtype == np.int64
    frames = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(found.log_likelihoods(frames), own.log_likelihoods(frames), rtol=1e-5)
    assert Tree.open(kaldi / "out").roots == Tree.open(kaldi / "tri").roots
    transitions = [TransitionModel.open(kaldi / name) for name in ("tri", "out")]
    np.testing.assert_array_equal(transitions[0].tuples, transitions[1].tuples)
    assert (kaldi / "out" / "phones.txt").is_file() and not (kaldi / "out" / "kind.json").exists()


def test_a_mixture_by_hand(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")

    def integer(value: int) -> bytes:
        return struct.pack("<bi", 4, value)

    def matrix(*values: float) -> bytes:
        return b"FM " + integer(2) + integer(3) + struct.pack("<6f", *values)

    (tmp_path / "binary").write_bytes(
        b"\0B<DIMENSION> " + integer(3) + b"<NUMPDFS> " + integer(1) + b"<DiagGMMBegin> <GCONSTS> FV " + integer(2)
        + bytes(8) + b"<WEIGHTS> FV " + integer(2) + struct.pack("<2f", 0.25, 0.75) + b"<MEANS_INVVARS> "
        + matrix(1, 2, 3, 2, 4, 6) + b"<INV_VARS> " + matrix(0.5, 0.5, 1, 2, 1, 4) + b"<DiagGMMEnd> "
    )  # fmt: skip
    for name in ("text", "binary"):
        found = read_gmm(ObjectReader(tmp_path / name))
        assert found.weights.tolist() == [0.25, 0.75]
        assert found.means.tolist() == [[2, 4, 3], [1, 4, 1.5]]
        assert found.variances.tolist() == [[2, 2, 1], [0.5, 1, 0.25]]


def test_normalised_variances_are_asked_of_features(kaldi: Path) -> None:
    (kaldi / "kaldi" / "cmvn_opts").write_text("--norm-vars=true\n", encoding="utf-8")
    assert run(kaldi) == 0
    assert read_json(kaldi / "out" / "kind.json") == {"kind": "kaldi", "settings": {"cmvn": "mean-var"}}


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    def apply(kaldi: Path) -> None:
        path = kaldi / "kaldi" / name
        path.write_text(change(path.read_text(encoding="utf-8") if path.is_file() else ""), encoding="utf-8")

    return apply


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (lambda kaldi: (kaldi / "kaldi" / "final.mdl").unlink(), "no final.mdl; expected Kaldi's folder of a"),
    "no tree": (lambda kaldi: (kaldi / "kaldi" / "tree").unlink(), "no tree; expected Kaldi's folder of a GMM system"),
    "truncated": (edit("final.mdl", lambda text: text[:-30]), "final.mdl: byte "),
    "a network": (edit("final.mdl", lambda text: text[: text.index("<DIM")] + "<Nnet3> "), "expected <DIMENSION>"),
    "no pdfs": (edit("final.mdl", lambda text: text[: text.index("<DiagGMM>")].replace("<NUMPDFS> 2", "<NUMPDFS> 0")),
                "no pdfs"),
    "fewer pdfs": (edit("final.mdl", lambda text: text.replace("<NUMPDFS> 2", "<NUMPDFS> 1")), "Gaussians of 1 pdfs;"),
    "other dimensions": (edit("final.mdl", lambda text: text.replace("<DIMENSION> 6", "<DIMENSION> 5")), "pdf 0: 1 w"),
    "a weight of zero": (edit("final.mdl", lambda text: text.replace("[ 0.25", "[ 0")), "pdf 1: a weight or variance"),
    "a tree of another model": (edit("tree", lambda _: "ContextDependency 1 0 ToPdf CE 0 EndContextDependency"),
                                "a tree of another model"),
    "a transform": (edit("final.mat", lambda _: "[ ]"), "final.mat: a transform of the features; expected a system on"),
    "other deltas": (edit("delta_opts", lambda _: "--delta-order=1"), "--delta-order=1; expected --delta-order=2"),
    "no normalisation": (edit("cmvn_opts", lambda _: "--norm-means=false"), "cmvn_opts: means are not normalised"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line(kaldi: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(kaldi)
    assert run(kaldi) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert message in line and not (kaldi / "out").exists()
