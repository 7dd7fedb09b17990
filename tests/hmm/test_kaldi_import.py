"""The way from Kaldi's features and alignments to a frame store, a network and words; every kind of bad input."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kaldi_files import alignment_bytes, model_bytes, tree_bytes, write_alignments
from test_graph import ARPA, LEXICON, triphone_tree
from test_kaldi_model import CHAIN_MODEL

from asr_parallel.cli.main import main
from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.lang import Lang, build_lang, check_phones, write_symbols
from asr_parallel.hmm.lexicon_fst import lexicon_fst
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import write_json

io = pytest.importorskip("kaldi_native_io")
DIM, SPEAKERS = 3, 5
CHAIN_TREE = "ContextDependency 1 0 ToPdf TE -1 2 ( CE 0 CE 1 ) EndContextDependency "
SMALL = [*("--hidden-layers", "1", "--hidden-dim", "8", "--minibatch", "32", "--epochs", "1", "--threads", "1")]


class World(SimpleNamespace):
    """A lang folder, a triphone system and an archive of features of this package, and alignments of these."""

    folder: Path
    lang: Lang
    tree: Tree
    transitions: TransitionModel
    matrices: dict[str, np.ndarray]
    tids: dict[str, np.ndarray]


def write_lang(folder: Path) -> Lang:
    """Write a lang folder as Kaldi's prepare_lang.sh does: phones by position in the word, upper-case silences."""
    marks = {1: ("S",), 2: ("B", "E"), 3: ("B", "I", "E")}
    silence = [f"{phone}{mark}" for phone in ("SIL", "SPN") for mark in ("", "_B", "_E", "_I", "_S")]
    speech = [f"{phone}_{mark}" for phone in ("x", "y", "z") for mark in "BEIS"]
    phones = {phone: i for i, phone in enumerate(["<eps>", *silence, *speech, *(f"#{n}" for n in range(5))])}
    words = {word: i for i, word in enumerate(["<eps>", *sorted(LEXICON), "#0", "<s>", "</s>"])}
    entries = []
    for word, variants in sorted(LEXICON.items()):
        for probability, names in variants:
            named = [p.upper() if p == "spn" else p for p in names]
            entries.append((word, probability, [f"{p}_{m}" for p, m in zip(named, marks[len(named)], strict=True)]))
    build_lang(folder, LEXICON)  # of its own phones; all files that name phones are replaced
    write_symbols(folder / "phones.txt", phones)
    lines = {"silence": silence, "nonsilence": speech, "optional_silence": ["SIL"], "disambig": list(phones)[-5:]}
    for name, members in lines.items():
        (folder / "phones" / f"{name}.txt").write_text("".join(f"{p}\n" for p in members), encoding="utf-8")
    (folder / "lexiconp.txt").write_text("".join(f"{w} {p}\t{' '.join(n)}\n" for w, p, n in entries), encoding="utf-8")
    numbered = [(words[word], p, tuple(phones[name] for name in names)) for word, p, names in entries]
    disambig = [phones[symbol] for symbol in lines["disambig"]]
    lexicon = lexicon_fst(numbered, phones["SIL"], disambig, words["#0"])
    assert lexicon.write(str(folder / "L_disambig.fst"))
    return Lang.open(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("own")
    (folder / "lm.arpa").write_text(ARPA, encoding="utf-8")
    lang = write_lang(folder / "lang")
    topology = Topology.of_phones(lang.silence_phones, lang.nonsilence_phones)
    tree = triphone_tree(lang, topology)
    transitions = TransitionModel.build(topology, tree)
    random = np.random.default_rng(0)
    lengths = {f"s{n % SPEAKERS}-u{n:02}": int(random.integers(20, 60)) for n in range(20)}
    matrices = {u: random.normal(5, 2, (frames, DIM)).astype(np.float32) for u, frames in lengths.items()}
    tids = {u: random.integers(1, transitions.num_transition_ids + 1, frames) for u, frames in lengths.items()}
    tree.save(folder / "tri")
    transitions.save(folder / "tri")
    AlignmentSet.of(list(tids), list(tids.values())).write(folder / "tri" / "ali")
    (folder / "feats").mkdir()
    write_archive(folder / "feats", [(u, u[:2], matrix) for u, matrix in matrices.items()])
    write_json(folder / "feats" / "kind.json", {"kind": "fbank"})
    return World(folder=folder, lang=lang, tree=tree, transitions=transitions, matrices=matrices, tids=tids)


def write_data(folder: Path, matrices: dict[str, np.ndarray], cmvn: bool = False) -> Path:
    """Write a Kaldi data directory; the speaker of an utterance is the first two letters of its id."""
    folder.mkdir(parents=True)
    (folder / "utt2spk").write_text("".join(f"{u} {u[:2]}\n" for u in matrices), encoding="utf-8")
    with io.FloatMatrixWriter(f"ark,scp:{folder}/raw.ark,{folder}/feats.scp") as writer:
        for utterance, matrix in matrices.items():
            writer.write(utterance, matrix)
    if cmvn:
        with io.DoubleMatrixWriter(f"ark,scp:{folder}/cmvn.ark,{folder}/cmvn.scp") as writer:
            for speaker in sorted({u[:2] for u in matrices}):
                frames = np.concatenate([m.astype(np.float64) for u, m in matrices.items() if u[:2] == speaker])
                sums = np.append(frames.sum(axis=0), len(frames))
                writer.write(speaker, np.stack([sums, np.append(np.square(frames).sum(axis=0), 0)]))
    return folder


def write_system(folder: Path, world: World, binary: bool = True, jobs: int = 3) -> Path:
    """Write the alignments, transition model, tree and phones of the world as Kaldi's exp/tri4_ali."""
    entries = [(u, ids.tolist()) for u, ids in world.tids.items()]
    archives = [alignment_bytes(entries[job::jobs], binary) for job in range(jobs)]
    num_states = {p: len(states) for p, states in world.transitions.topology.phones.items()}
    tree = tree_bytes(world.tree, num_states, binary)
    write_alignments(folder, model_bytes(world.transitions, binary), tree, archives)
    shutil.copyfile(world.folder / "lang" / "phones.txt", folder / "phones.txt")
    return folder


@pytest.fixture
def kaldi(world: World, tmp_path: Path) -> Path:
    """Return a folder as a Kaldi user has it: data/train and exp/tri4_ali."""
    write_data(tmp_path / "data" / "train", world.matrices)
    write_system(tmp_path / "exp" / "tri4_ali", world)
    return tmp_path


def run(kaldi: Path, out: Path, *more: str) -> int:
    data, ali = kaldi / "data" / "train", kaldi / "exp" / "tri4_ali"
    return main(["import-kaldi-ali", "--data", str(data), "--ali", str(ali), "--out", str(out), *more])


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
    write_system(tmp_path / "exp" / "tri4_ali", world, binary)
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
    line = ["import-kaldi-ali", "--ali", str(kaldi / "exp" / "tri4_ali"), "--feats", str(world.folder / "feats")]
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
    line = ["import-kaldi-ali", "--ali", str(kaldi / "exp" / "tri4_ali"), "--feats", str(feats)]
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
    write_system(kaldi / "exp" / "tri4_ali", World(**{**vars(world), "tids": tids}))
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
    ali = kaldi / "exp" / "tri4_ali"
    model = CHAIN_MODEL.replace("<Tuples> 2 1 0 0 1 2 0 2 1", "<Tuples> 2 1 0 0 1 2 0 0 1")
    (ali / "final.mdl").write_text(model, encoding="utf-8")
    (ali / "tree").write_text(CHAIN_TREE, encoding="utf-8")
    entries = [(u, [2, 1] * (len(m) // 2) + [4] * (len(m) % 2)) for u, m in world.matrices.items()]
    for job in (1, 2, 3):
        (ali / f"ali.{job}.gz").write_bytes(gzip.compress(alignment_bytes(entries[job - 1 :: 3], True)))
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
    path = kaldi / "exp" / "tri4_ali" / "ali.2.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=1))


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return a function that changes a file of the Kaldi user's folder."""

    def apply(kaldi: Path) -> None:
        (kaldi / name).write_bytes(change((kaldi / name).read_bytes()))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda kaldi: (kaldi / name).unlink()


def align(entries: list[tuple[str, list[int]]]) -> Callable[[Path], None]:
    return edit("exp/tri4_ali/ali.1.gz", lambda _: gzip.compress(alignment_bytes(entries, True)))


ALI = "exp/tri4_ali"
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no features": (remove("data/train/feats.scp"), "no feats.scp; expected a Kaldi data directory: feats"),
    "no speakers": (remove("data/train/utt2spk"), "no utt2spk; expected a Kaldi data directory"),
    "no alignments": (lambda kaldi: [path.unlink() for path in (kaldi / ALI).glob("ali.*")], "no ali.*.gz; expected"),
    "a job's alignments missing": (remove(f"{ALI}/ali.2.gz"), "2 files ali.*.gz, but no ali.2.gz; num_jobs says 3"),
    "no model": (remove(f"{ALI}/final.mdl"), "no final.mdl; expected a folder with Kaldi's ali.*.gz"),
    "no tree": (remove(f"{ALI}/tree"), "no tree; expected a folder with Kaldi's ali.*.gz, final.mdl and tree"),
    "truncated model": (edit(f"{ALI}/final.mdl", lambda data: data[:200]), "final.mdl: byte "),
    "truncated tree": (edit(f"{ALI}/tree", lambda data: data[:200]), "tree: byte "),
    "tree and model swapped": (
        lambda kaldi: shutil.copyfile(kaldi / ALI / "tree", kaldi / ALI / "final.mdl"), "expected <TransitionModel>",
    ),
    "a tree of another model": (edit(f"{ALI}/tree", lambda _: CHAIN_TREE.encode()), "a tree of another model"),
    "truncated gzip": (edit(f"{ALI}/ali.1.gz", lambda data: data[:-40]), "ali.1.gz: truncated or not gzip"),
    "not gzip": (edit(f"{ALI}/ali.1.gz", gzip.decompress), "ali.1.gz: truncated or not gzip"),
    "truncated alignment": (
        edit(f"{ALI}/ali.1.gz", lambda data: gzip.compress(gzip.decompress(data)[:-9])), "is truncated:",
    ),
    "features for alignments": (
        edit(f"{ALI}/ali.1.gz", lambda _: gzip.compress(b"u \0BFM \x04\0\0\0\0")), "is not a vector of 32-bit integers",
    ),
    "an utterance aligned twice": (
        lambda kaldi: shutil.copyfile(kaldi / ALI / "ali.1.gz", kaldi / ALI / "ali.2.gz"), "s0-u00 is aligned twice",
    ),
    "transition ids beyond the model": (
        align([("s0-u00", [99999] * 46), ("s3-u03", [0] * 10)]),
        "of 20 utterances are bad, more than --max-bad-share 0.05 allows; the first: s0-u00: ",
    ),
    "alignments of other utterances": (
        lambda kaldi: [
            (kaldi / ALI / f"ali.{job}.gz").write_bytes(gzip.compress(f"v{job} 1 2 3\n".encode())) for job in (1, 2, 3)
        ],
        "data set tri4_ali: none of 23 utterances is usable; the first: v1: is aligned, but has no features",
    ),
    "most utterances not aligned": (
        align([]), "7 of 20 utterances are bad, more than --max-bad-share 0.05 allows; the first: s0-u00: no alignment",
    ),
    "truncated features": (
        edit("data/train/raw.ark", lambda data: data[: len(data) // 2]), "not a matrix, or truncated: Failed to read",
    ),
    "commands": (
        edit("data/train/feats.scp", lambda data: data.replace(b"raw.ark:7", b"raw.ark |")), "commands from data files",
    ),
    "relative paths of another folder": (
        edit("data/train/feats.scp", lambda _: b"s0-u00 mfcc/raw.ark:7\n"),
        "relative paths count from the working directory, as in Kaldi, or else from the scp file's folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line_and_nothing_half_written(
    kaldi: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    break_it, message = FAULTS[fault]
    break_it(kaldi)
    assert run(kaldi, kaldi / "out" / "frames") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1 and errors[0].startswith("asr-parallel import-kaldi-ali: error: ") and message in errors[0]
    assert not (kaldi / "out").exists() or list((kaldi / "out").iterdir()) == []


def test_options_that_are_of_no_use_are_refused(world: World, kaldi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "import-kaldi-ali",
        "--ali",
        str(kaldi / ALI),
        "--feats",
        str(world.folder / "feats"),
        "--out",
        str(kaldi / "x"),
    ]
    assert main([*line, "--cmvn", "mean"]) == 1
    assert "--cmvn is of no use to the features of --feats" in capsys.readouterr().err
    assert run(kaldi, kaldi / "x", "--norm-vars", "--cmvn", "mean") == 1
    assert "--norm-vars is of no use to features that" in capsys.readouterr().err
    assert run(kaldi, kaldi / "x", "--length-tolerance", "-1") == 1
    assert "length_tolerance -1: expected a whole number of at least 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(line[:3] + line[5:])  # neither --data nor --feats
