"""A triphone system that Kaldi trained, its alignments, and what Kaldi's programs say of them."""

from pathlib import Path

import numpy as np
import pytest
from kaldi_golden import GOLDEN, lines, matrices

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.features.deltas import add_deltas
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.kaldi.alignments import read_alignments
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import write_json

FORMATS = ("tri", "tri_text")


def data(folder: Path) -> Path:
    """Write the fixtures' features as an archive of this package."""
    out = folder / "feats"
    out.mkdir()
    write_archive(out, [(key, key[:2], matrix) for key, matrix in matrices("data/feats.ark").items()])
    write_json(out / "kind.json", {"kind": "fbank"})
    return out


@pytest.mark.parametrize("name", FORMATS)
def test_transition_ids_have_kaldis_pdfs_and_phones(name: str) -> None:
    model = KaldiTransitionModel.read(GOLDEN / name / "final.mdl")
    pdfs, phones = lines("tri/pdfs.txt"), lines("tri/phones_of_frames.txt")
    phone_of = model.plain().phone_of
    alignments = dict(read_alignments(GOLDEN / name / "ali.1.gz"))
    assert list(alignments) == list(pdfs) == list(phones)
    for key, ids in alignments.items():
        assert model.pdf_of[ids].tolist() == [int(word) for word in pdfs[key]]
        assert phone_of[ids].tolist() == [int(word) for word in phones[key]]


@pytest.mark.parametrize("name", ["mono", "tri"])
def test_sizes_are_those_of_gmm_info_and_tree_info(tmp_path: Path, name: str) -> None:
    assert main(["import-kaldi-gmm", "--system", str(GOLDEN / name), "--out", str(tmp_path / "out")]) == 0
    said = dict(line.rsplit(" ", 1) for line in (GOLDEN / name / "info.txt").read_text(encoding="utf-8").splitlines())
    model, tree = TransitionModel.open(tmp_path / "out"), Tree.open(tmp_path / "out")
    gmm = DiagGmmSet.open(tmp_path / "out")
    found = {
        "number of phones": len(model.topology.phones),
        "number of pdfs": model.num_pdfs,
        "number of transition-ids": model.num_transition_ids,
        "number of transition-states": model.num_transition_states,
        "feature dimension": gmm.dim,
        "number of gaussians": len(gmm.weights),
        "num-pdfs": tree.num_pdfs,
        "context-width": tree.context_width,
        "central-position": tree.central_position,
    }
    assert {what: str(number) for what, number in found.items()} == said


def test_the_formats_hold_the_same() -> None:
    models = [KaldiTransitionModel.read(GOLDEN / name / "final.mdl") for name in FORMATS]
    assert models[0].phones == models[1].phones
    np.testing.assert_array_equal(models[0].tuples, models[1].tuples)
    np.testing.assert_allclose(models[0].log_prob, models[1].log_prob, rtol=1e-5)
    trees = [KaldiTree.read(GOLDEN / name / "tree") for name in FORMATS]
    assert trees[0].root == trees[1].root
    assert (trees[0].context_width, trees[0].central_position) == (3, 1)


@pytest.mark.parametrize("name", FORMATS)
def test_labels_of_a_frame_store_are_the_pdfs_of_ali_to_pdf(tmp_path: Path, name: str) -> None:
    words = ["import-kaldi-ali", "--feats", str(data(tmp_path)), "--ali", str(GOLDEN / name)]
    assert main([*words, "--out", str(tmp_path / "frames")]) == 0
    store, pdfs = FrameStore.open(tmp_path / "frames"), lines("tri/pdfs.txt")
    assert sorted(store.ids) == sorted(pdfs)
    for n, key in enumerate(store.ids):
        assert store.labels[store.rows_of(np.array([n]))].tolist() == [int(word) for word in pdfs[key]]


def test_the_store_of_kaldis_features_is_normalised_as_apply_cmvn_does(tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_io")
    words = ["import-kaldi-ali", "--data", str(GOLDEN / "data"), "--ali", str(GOLDEN / "tri")]
    assert main([*words, "--out", str(tmp_path / "frames")]) == 0
    store = FrameStore.open(tmp_path / "frames")
    mean, scale = np.array(store.normalisation.mean), np.array(store.normalisation.scale)
    for key, expected in matrices("data/mean.ark").items():
        rows = store.rows_of(np.array([store.ids.index(key)]))
        found = store.frames[rows].astype(np.float64)
        np.testing.assert_allclose(found, (expected - mean) * scale, atol=4e-3)  # float16


@pytest.mark.parametrize("name", FORMATS)
def test_gaussians_have_kaldis_likelihoods(tmp_path: Path, name: str) -> None:
    words = ["import-kaldi-gmm", "--system", str(GOLDEN / name), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    gmm = DiagGmmSet.open(tmp_path / "out")
    features = matrices("data/mean.ark")
    likes = matrices("tri/likes.ark")
    assert likes.keys() == features.keys()
    for key, expected in likes.items():
        found = gmm.log_likelihoods(add_deltas(features[key]).astype(np.float32))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
