"""Export of systems and features for Kaldi: bytes derived by hand, what comes back, and faults."""

import gzip
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from kaldi_files import model_bytes, tree_bytes
from test_kaldi_export_lang import LEXICON
from test_kaldi_model import BINARY_MODEL, BINARY_TREE, TEXT_MODEL, TEXT_TREE, tri_model
from toy_hmm import TOPOLOGY

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.kaldi.alignments import alignment_files, read_alignments
from asr_parallel.hmm.kaldi.model_writer import write_gmm
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.hmm.lang import build_lang
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Leaf, Question, Tree, monophone_tree
from asr_parallel.record.files import write_json

DIM = 3
MATRIX = re.compile(rb"FM \x04(....)\x04(....)", re.DOTALL)
# One pdf, one Gaussian of weight 1, one dimension: mean 3, variance 2; the constant is -(ln(2 pi) + ln 2 + 9 / 2) / 2
CONSTANT = -0.5 * (math.log(2 * math.pi) + math.log(2) + 4.5)
BINARY_GMM = (
    b"\0B<DIMENSION> \x04\x01\0\0\0<NUMPDFS> \x04\x01\0\0\0"
    b"<DiagGMM> <GCONSTS> FV \x04\x01\0\0\0"
    + np.float32(CONSTANT).tobytes()
    + b"<WEIGHTS> FV \x04\x01\0\0\0\0\0\x80\x3f"
    b"<MEANS_INVVARS> FM \x04\x01\0\0\0\x04\x01\0\0\0\0\0\xc0\x3f"
    b"<INV_VARS> FM \x04\x01\0\0\0\x04\x01\0\0\0\0\0\0\x3f</DiagGMM> "
)
TEXT_GMM = f"""<DIMENSION> 1 <NUMPDFS> 1 <DiagGMM> 
<GCONSTS>  [ {np.float32(CONSTANT):.9g} ]
<WEIGHTS>  [ 1 ]
<MEANS_INVVARS>  [
  1.5 ]
<INV_VARS>  [
  0.5 ]
</DiagGMM> 
"""


def toy_gmm(num_pdfs: int, dim: int, seed: int = 0) -> DiagGmmSet:
    """Return mixtures of one, two or three Gaussians."""
    random = np.random.default_rng(seed)
    sizes = 1 + np.arange(num_pdfs) % 3
    weights = np.concatenate([np.full(size, 1 / size) for size in sizes])
    means, variances = random.normal(0, 3, (sizes.sum(), dim)), random.uniform(0.5, 4, (sizes.sum(), dim))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    tensors = (torch.from_numpy(values.astype(np.float32)) for values in (weights, means, variances))
    return DiagGmmSet(*tensors, offsets)


def write_system(folder: Path) -> tuple[Tree, TransitionModel, DiagGmmSet, dict[str, np.ndarray]]:
    """Write a triphone system of toy phones, and alignments, as stage 3 does."""
    tree, transitions = tri_model()
    gmm = toy_gmm(tree.num_pdfs, 3 * DIM)
    random = np.random.default_rng(1)
    tids = {
        f"u{n}": random.integers(1, transitions.num_transition_ids + 1, 20 + n, dtype=np.int32) for n in (3, 1, 2, 0)
    }
    folder.mkdir()
    tree.save(folder)
    transitions.save(folder)
    gmm.save(folder)
    AlignmentSet.of(list(tids), list(tids.values())).write(folder / "ali")
    return tree, transitions, gmm, tids


def write_feats(folder: Path) -> dict[str, np.ndarray]:
    """Write an archive of features of two speakers."""
    random = np.random.default_rng(2)
    matrices = {f"{s}-{n}": random.normal(size=(5 + n, DIM)).astype(np.float32) for s in ("b", "a") for n in (1, 0)}
    folder.mkdir()
    write_archive(folder, [(u, u[0], matrix) for u, matrix in matrices.items()])
    write_json(folder / "kind.json", {"kind": "mfcc"})
    return matrices


def export(*words: str | Path) -> int:
    return main(["export-kaldi", *map(str, words)])


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_models_are_the_bytes_that_were_derived_by_hand(binary: bool) -> None:
    topology = Topology({2: (((0, 0.75), (1, 0.25)),)})
    root = Question(0, frozenset([2, 5]), Leaf(1), Leaf(0))
    tree = Tree(context_width=3, central_position=1, num_pdfs=2, roots={2: root})
    model = TransitionModel(topology, np.array([[2, 0, 0]]))
    written, tail = model_bytes(model, binary), b"<DIMENSION> \x04\x27\0\0\0" if binary else b"<DIMENSION> 39 "
    assert written.endswith(tail)
    written = written.removesuffix(tail)
    of_tree = tree_bytes(tree, topology, binary)
    if binary:
        assert (written, of_tree) == (BINARY_MODEL, BINARY_TREE)
    else:  # Kaldi leaves a space at the end of most lines
        rounded = TEXT_MODEL.replace("-0.2876821", "-0.287682086").replace("-1.386294", "-1.38629436")
        assert written.decode().split() == rounded.split() and of_tree.decode().split() == TEXT_TREE.split()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_gaussians_are_the_bytes_that_were_derived_by_hand(binary: bool) -> None:
    out = ObjectWriter(binary)
    write_gmm(out, DiagGmmSet.single(np.array([[3.0]]), np.array([[2.0]])))
    assert bytes(out.data) == (BINARY_GMM if binary else TEXT_GMM.encode())


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_a_system_comes_back(tmp_path: Path, text: bool) -> None:
    tree, transitions, gmm, tids = write_system(tmp_path / "tri")
    out = tmp_path / "kaldi"
    assert export("--model", tmp_path / "tri", "--out", out, "--num-jobs", "3", *(["--text"] if text else [])) == 0
    model, read = KaldiTransitionModel.read(out / "final.mdl"), KaldiTree.read(out / "tree")
    read.check(model)
    same = read.plain(model)
    assert np.array_equal(TransitionModel.build(TOPOLOGY, same).tuples, transitions.tuples)
    np.testing.assert_allclose(model.log_prob[1:], transitions.log_prob[1:], rtol=1e-7)
    found = [entry for path in alignment_files(out) for entry in read_alignments(path)]
    assert [utterance for utterance, _ in found] == ["u0", "u1", "u2", "u3"]
    assert all(np.array_equal(ids, tids[utterance]) for utterance, ids in found)
    occupancies = ObjectReader(out / "final.occs").reals()
    pdfs = np.concatenate([transitions.pdf_of[ids] for ids in tids.values()])
    assert occupancies.tolist() == [int((pdfs == pdf).sum()) for pdf in range(tree.num_pdfs)]
    _check_gaussians(out / "final.mdl", gmm)
    assert (out / "cmvn_opts").read_text(encoding="utf-8") == "--norm-means=true --norm-vars=false\n"


def _check_gaussians(path: Path, gmm: DiagGmmSet) -> None:
    """Read the mixtures after the transition model as the formula of a Gaussian's log-likelihood wants them."""
    data = path.read_bytes()
    alone = path.with_name("gmm")
    flat = MATRIX.sub(_vector, data[data.index(b"<DIMENSION>") :])
    alone.write_bytes((b"\0B" if data.startswith(b"\0B") else b"") + flat)
    reader = ObjectReader(alone)
    reader.expect("<DIMENSION>")
    assert reader.integer() == gmm.dim
    reader.expect("<NUMPDFS>")
    assert reader.integer() == gmm.num_pdfs
    x = np.linspace(-2, 2, gmm.dim)
    for pdf in range(gmm.num_pdfs):
        size = gmm.offsets[pdf + 1] - gmm.offsets[pdf]
        reader.expect("<DiagGMM>")
        reader.expect("<GCONSTS>")
        constants = reader.reals()
        reader.expect("<WEIGHTS>")
        np.testing.assert_allclose(reader.reals(), np.full(size, 1 / size), rtol=1e-6)
        reader.expect("<MEANS_INVVARS>")
        linear = reader.reals().reshape(size, -1)
        reader.expect("<INV_VARS>")
        quadratic = reader.reals().reshape(size, -1)
        reader.expect("</DiagGMM>")
        scores = constants + linear @ x - 0.5 * quadratic @ np.square(x)
        expected = gmm.log_likelihoods(x[None], [pdf])[0, 0]
        np.testing.assert_allclose(np.logaddexp.reduce(scores), expected, rtol=1e-5)


def _vector(matrix: re.Match[bytes]) -> bytes:
    """Return the header of a vector for that of a binary matrix."""
    rows, columns = struct.unpack("<ii", matrix[1] + matrix[2])
    return struct.pack("<3sBi", b"FV ", 4, rows * columns)


def test_files_of_alignments_are_the_same_whenever_they_are_written(tmp_path: Path) -> None:
    write_system(tmp_path / "tri")
    for name in ("one", "two"):
        assert export("--model", tmp_path / "tri", "--out", tmp_path / name) == 0
    data = (tmp_path / "one" / "ali.1.gz").read_bytes()
    assert data == (tmp_path / "two" / "ali.1.gz").read_bytes() and gzip.decompress(data).startswith(b"u0 \0B\x04\x14")


def test_alignments_are_read_by_kaldis_own_code(tmp_path: Path) -> None:
    io = pytest.importorskip("kaldi_native_io")
    tids = write_system(tmp_path / "tri")[-1]
    for options in ([], ["--text"]):
        out = tmp_path / f"kaldi{len(options)}"
        assert export("--model", tmp_path / "tri", "--out", out, *options) == 0
        (tmp_path / "ali").write_bytes(gzip.decompress((out / "ali.1.gz").read_bytes()))
        with io.SequentialInt32VectorReader(f"ark:{tmp_path / 'ali'}") as reader:
            found = {utterance: list(ids) for utterance, ids in reader}
        assert found == {utterance: ids.tolist() for utterance, ids in tids.items()}


def test_a_folder_of_alignments_has_no_gaussians(tmp_path: Path) -> None:
    write_system(tmp_path / "tri_ali")
    (tmp_path / "tri_ali" / "gmm.safetensors").unlink()
    assert export("--model", tmp_path / "tri_ali", "--out", tmp_path / "kaldi") == 0
    assert (tmp_path / "kaldi" / "final.mdl").read_bytes().endswith(b"</TransitionModel> ")
    assert not (tmp_path / "kaldi" / "cmvn_opts").exists()


def test_features_are_a_data_directory(tmp_path: Path) -> None:
    io = pytest.importorskip("kaldi_native_io")
    matrices = write_feats(tmp_path / "feats")
    out = tmp_path / "data"
    assert export("--feats", tmp_path / "feats", "--out", out) == 0
    with io.SequentialFloatMatrixReader(f"scp:{out}/feats.scp") as reader:
        found = [(key, np.array(matrix)) for key, matrix in reader]
    assert [key for key, _ in found] == ["a-0", "a-1", "b-0", "b-1"]
    assert all(np.array_equal(matrix, matrices[key]) for key, matrix in found)
    assert (out / "utt2spk").read_text(encoding="utf-8") == "a-0 a\na-1 a\nb-0 b\nb-1 b\n"
    assert (out / "spk2utt").read_text(encoding="utf-8") == "a a-0 a-1\nb b-0 b-1\n"
    with io.SequentialDoubleMatrixReader(f"scp:{out}/cmvn.scp") as reader:
        for speaker, stats in reader:
            own = np.concatenate([m.astype(np.float64) for u, m in sorted(matrices.items()) if u[0] == speaker])
            assert np.array(stats)[:, -1].tolist() == [len(own), 0]
            np.testing.assert_allclose(np.array(stats)[0, :-1], own.sum(axis=0), rtol=1e-12)
            np.testing.assert_allclose(np.array(stats)[1, :-1], np.square(own).sum(axis=0), rtol=1e-12)


def test_exported_features_come_back(tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_io")
    matrices = write_feats(tmp_path / "feats")
    assert export("--feats", tmp_path / "feats", "--out", tmp_path / "data") == 0
    again = ["import-kaldi-feats", "--data", str(tmp_path / "data"), "--cmvn", "none", "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert np.array_equal(
        np.load(tmp_path / "again" / "feats.npy"), np.concatenate([matrices[u] for u in sorted(matrices)])
    )


def test_features_that_were_normalised_have_no_cmvn(tmp_path: Path) -> None:
    write_feats(tmp_path / "feats")
    write_json(tmp_path / "feats" / "kind.json", {"kind": "kaldi", "settings": {"cmvn": "mean"}})
    assert export("--feats", tmp_path / "feats", "--out", tmp_path / "data") == 0
    assert (tmp_path / "data" / "feats.scp").is_file() and not (tmp_path / "data" / "cmvn.scp").exists()


def test_a_moved_data_directory_is_made_again(tmp_path: Path) -> None:
    write_feats(tmp_path / "feats")
    assert export("--feats", tmp_path / "feats", "--out", tmp_path / "data") == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    assert export("--feats", tmp_path / "feats", "--out", tmp_path / "moved") == 0
    lines = (tmp_path / "moved" / "feats.scp").read_text(encoding="utf-8").splitlines()
    assert all(str(tmp_path / "moved" / "feats.ark:") in line for line in lines)


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return the one line of an export that fails."""
    assert export(*words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def test_phones_come_from_the_lang_folder(tmp_path: Path) -> None:
    write_system(tmp_path / "tri")
    build_lang(tmp_path / "lang", LEXICON)  # of five phones, as the system has
    assert export("--model", tmp_path / "tri", "--lang", tmp_path / "lang", "--out", tmp_path / "kaldi") == 0
    assert (tmp_path / "kaldi" / "phones.txt").read_bytes() == (tmp_path / "lang" / "phones.txt").read_bytes()


def test_a_bad_system_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, transitions, *_ = write_system(tmp_path / "tri")
    model, out = tmp_path / "tri", tmp_path / "kaldi"
    line = refusal(capsys, "--model", model, "--out", out, "--num-jobs", "5")
    assert "num_jobs 5: expected at most one for each of 4" in line
    build_lang(tmp_path / "lang", LEXICON | {"b": [(1.0, ("b",))]})
    line = refusal(capsys, "--model", model, "--out", out, "--lang", tmp_path / "lang")
    assert f"{model}: its phones are not those of {tmp_path / 'lang'}" in line
    last = transitions.num_transition_ids
    AlignmentSet.of(["u"], [np.array([1, last + 1])]).write(model / "ali")
    line = refusal(capsys, "--model", model, "--out", out)
    assert f"transition ids 1 to {last + 1}; expected 1 to {last}" in line
    toy_gmm(3, 2).save(model)
    assert "Gaussians of 3 pdfs" in refusal(capsys, "--model", model, "--out", out)
    monophone_tree(TOPOLOGY).save(model)
    assert f"a tree with 19 pdfs, a model with {tree.num_pdfs}" in refusal(capsys, "--model", model, "--out", out)
    (model / "tree.json").unlink()
    assert "no tree.json" in refusal(capsys, "--model", model, "--out", out)
    assert not out.exists()


def test_options_of_no_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_feats(tmp_path / "feats")
    line = refusal(capsys, "--feats", tmp_path / "feats", "--out", tmp_path / "data", "--num-jobs", "2")
    assert "--num-jobs is of no use to features" in line
    assert "no utterances.json" in refusal(capsys, "--feats", tmp_path, "--out", tmp_path / "data")
