"""The way from Kaldi's features and alignments to a frame store, a network and words."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kaldi_files import CHAIN_MODEL, CHAIN_TREE
from kaldi_world import ALI, DIM, World, run, write_data, write_system

from asr_parallel.cli.main import main
from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.kaldi.alignment_writer import archive_bytes
from asr_parallel.hmm.lang import check_phones
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import write_json

SMALL = [*("--hidden-layers", "1", "--hidden-dim", "8", "--minibatch", "32", "--epochs", "1", "--threads", "1")]


@pytest.fixture(scope="module")
def own_store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frame store that this package makes of the same features and alignments."""
    out = tmp_path_factory.mktemp("store") / "frames"
    assert main(["make-frames", "--feats", str(world.folder / "feats"), "--ali", str(world.folder / "tri"),
                 "--out", str(out)]) == 0  # fmt: skip
    return out


def same_store(found: Path, expected: Path, exactly: bool = True) -> None:
    one, other = FrameStore.open(found), FrameStore.open(expected)
    assert (one.ids, one.speakers, one.sources, one.num_pdfs) == (
        other.ids,
        other.speakers,
        other.sources,
        other.num_pdfs,
    )
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(
        one.frames.astype(np.float32), other.frames.astype(np.float32), rtol=0, atol=0 if exactly else 4e-3
    )


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_the_store_is_that_of_this_packages_own_stages(
    world: World, own_store: Path, tmp_path: Path, binary: bool
) -> None:
    write_data(tmp_path / "data" / "train", world.matrices)
    write_system(tmp_path / ALI, world, binary)
    assert run(tmp_path, tmp_path / "frames") == 0
    same_store(tmp_path / "frames", own_store)
    made = {path.name for path in (tmp_path / "frames").iterdir()} - {".digests.json"}
    assert made == {"frames.npy", "labels.npy", "index.json", "dropped.txt", "system", "stage.json"}
    assert (tmp_path / "frames" / "dropped.txt").read_text(encoding="utf-8") == ""
    assert json.loads((tmp_path / "frames" / "stage.json").read_text(encoding="utf-8"))["stage"] == 4


def test_kaldis_normalisation_gives_the_same_frames_within_rounding(world: World, own_store: Path, kaldi: Path) -> None:
    shutil.rmtree(kaldi / "data")
    write_data(kaldi / "data" / "train", world.matrices, cmvn=True)
    assert run(kaldi, kaldi / "frames") == 0
    same_store(kaldi / "frames", own_store, exactly=False)
    assert FrameStore.open(kaldi / "frames").normalisation.mean is not None


def test_other_features_of_the_same_utterances_may_be_labelled(world: World, own_store: Path, kaldi: Path) -> None:
    line = ["import-kaldi-ali", "--ali", str(kaldi / ALI), "--feats", str(world.folder / "feats")]
    assert main([*line, "--out", str(kaldi / "frames")]) == 0
    same_store(kaldi / "frames", own_store)
    assert FrameStore.open(kaldi / "frames").feature_config["kind"] == "fbank"


def test_perturbed_copies_get_the_labels_of_their_originals(world: World, kaldi: Path) -> None:
    random, feats = np.random.default_rng(1), kaldi / "feats"
    copies = {u: random.normal(5, 2, (len(m), DIM)) for u, m in world.matrices.items()}
    feats.mkdir()
    both = [(u, u[:2], m) for u, m in world.matrices.items()] + [
        (f"wf1.1-{u}", f"wf1.1-{u[:2]}", m) for u, m in copies.items()
    ]
    write_archive(feats, both)
    write_json(feats / "kind.json", {"kind": "fbank"})
    write_json(feats / "copies.json", {f"wf1.1-{u}": [u, 1.0, 1.1] for u in copies})
    line = ["import-kaldi-ali", "--ali", str(kaldi / ALI), "--feats", str(feats)]
    assert main([*line, "--out", str(kaldi / "frames")]) == 0
    store = FrameStore.open(kaldi / "frames")
    assert len(store.ids) == 2 * len(copies)
    half = len(store.labels) // 2
    np.testing.assert_array_equal(store.labels[:half], store.labels[half:])


def test_a_network_trained_on_the_store_recognises_words(world: World, kaldi: Path) -> None:
    shutil.rmtree(kaldi / "data")
    write_data(kaldi / "data" / "train", world.matrices, cmvn=True)
    dev = write_data(kaldi / "data" / "dev", {u: m for u, m in world.matrices.items() if u[:2] == "s0"}, cmvn=True)
    frames, dnn, feats = kaldi / "frames", kaldi / "dnn", kaldi / "feats"
    assert run(kaldi, frames) == 0
    train, held_out = FrameStore.open(frames).split(0.2, "speaker")
    store = FrameStore.open(frames)
    assert {store.speakers[u] for u in train}.isdisjoint({store.speakers[u] for u in held_out})
    line = ["train-dnn", "--frames", str(frames), "--out", str(dnn), "--held-out-by", "speaker", *SMALL]
    assert main([*line, "--held-out", "0.3"]) == 0
    assert main(["import-kaldi-feats", "--data", str(dev), "--out", str(feats)]) == 0
    graph = ["--lang", str(world.folder / "lang"), "--lm", str(world.folder / "lm.arpa")]
    assert main(["make-graph", *graph, "--model", str(frames / "system"), "--out", str(kaldi / "graph")]) == 0
    assert main(["make-graph", *graph, "--model", str(world.folder / "tri"), "--out", str(kaldi / "own graph")]) == 0
    assert (kaldi / "graph" / "HCLG.fst").read_bytes() == (kaldi / "own graph" / "HCLG.fst").read_bytes()
    line = ["decode", "--graph", str(kaldi / "graph"), "--model", str(dnn), "--feats", str(feats), "--jobs", "1"]
    assert main([*line, "--out", str(kaldi / "decode")]) == 0
    assert (kaldi / "decode" / "1best.txt").read_text(encoding="utf-8").count("\n") == len(FeatureArchive.open(feats))

    line = ["import-kaldi-feats", "--data", str(dev), "--out", str(kaldi / "plain"), "--cmvn", "none"]
    assert main(line) == 0
    with pytest.raises(ValueError, match=r"features with settings .*none.*; the model was trained on .*mean"):
        open_acoustic_model(dnn).open_features(kaldi / "plain")


def test_the_system_is_the_one_that_was_written(world: World, kaldi: Path) -> None:
    assert run(kaldi, kaldi / "frames") == 0
    system = kaldi / "frames" / "system"
    assert Tree.open(system) == world.tree
    transitions = TransitionModel.open(system)
    assert transitions.topology == world.transitions.topology
    np.testing.assert_array_equal(transitions.log_prob, world.transitions.log_prob)
    check_phones(world.lang, transitions.topology, system)
    names = (system / "phones.txt").read_text(encoding="utf-8")
    (system / "phones.txt").write_text(names.replace("x_B 11\nx_E 12", "x_E 11\nx_B 12"), encoding="utf-8")
    with pytest.raises(ValueError, match="its phones are not those of"):
        check_phones(world.lang, transitions.topology, system)


def test_lengths_within_the_tolerance_are_cut_others_dropped_and_counted(
    world: World, kaldi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tids, (first, second, third, *_) = dict(world.tids), world.tids
    tids[first], tids[second], tids[third] = tids[first][:-4], np.append(tids[second], [1] * 4), tids[third][:-5]
    shutil.rmtree(kaldi / "exp")
    write_system(kaldi / ALI, World(**{**vars(world), "tids": tids}))
    assert run(kaldi, kaldi / "frames") == 0
    logged = capsys.readouterr().err
    store = FrameStore.open(kaldi / "frames")
    assert third not in store.ids and len(store.ids) == 19
    lengths = dict(zip(store.ids, np.diff(store.offsets) - 2 * store.context, strict=True))
    assert lengths[first] == len(world.tids[first]) - 4 and lengths[second] == len(world.tids[second])
    np.testing.assert_array_equal(
        store.labels[store.rows_of(np.array([0]))], world.transitions.pdf_of[world.tids[first][:-4]]
    )
    dropped = (kaldi / "frames" / "dropped.txt").read_text(encoding="utf-8").splitlines()
    frames = len(world.tids[third])
    assert dropped == [f"{third}: {frames} frames of features, {frames - 5} of alignment; --length-tolerance is 4"]
    assert third in logged and "2 utterances" in logged
    assert run(kaldi, kaldi / "exact", "--length-tolerance", "0", "--max-bad-share", "0.2") == 0
    assert len(FrameStore.open(kaldi / "exact").ids) == 17


def test_a_chain_models_alignments_can_be_trained_on_without_a_system(
    world: World, kaldi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ali = kaldi / ALI
    model = CHAIN_MODEL.replace("<Tuples> 2 1 0 0 1 2 0 2 1", "<Tuples> 2 1 0 0 1 2 0 0 1")
    (ali / "final.mdl").write_text(model, encoding="utf-8")
    (ali / "tree").write_text(CHAIN_TREE, encoding="utf-8")
    entries = [(u, [2, 1] * (len(m) // 2) + [4] * (len(m) % 2)) for u, m in world.matrices.items()]
    for job in (1, 2, 3):
        (ali / f"ali.{job}.gz").write_bytes(gzip.compress(archive_bytes(entries[job - 1 :: 3], True)))
    assert run(kaldi, kaldi / "frames") == 0
    logged = capsys.readouterr().err
    store = FrameStore.open(kaldi / "frames")
    assert store.num_pdfs == 2 and not (kaldi / "frames" / "system").exists()
    assert store.labels[store.rows_of(np.array([0]))][:4].tolist() == [0, 1, 0, 1]
    assert "no graphs" in logged


def test_what_has_not_changed_is_not_made_again(kaldi: Path) -> None:
    out = kaldi / "frames"
    made = []
    for change in (lambda: None, lambda: None, lambda: touch_features(kaldi), lambda: touch_alignment(kaldi)):
        change()
        assert run(kaldi, out) == 0
        made.append(json.loads((out / "stage.json").read_text(encoding="utf-8"))["fingerprint"])
    assert made[0] == made[1] and len(set(made)) == 3


def touch_features(kaldi: Path) -> None:
    path = kaldi / "data" / "train" / "raw.ark"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def touch_alignment(kaldi: Path) -> None:
    path = kaldi / ALI / "ali.2.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=1))
