"""A system of this package, and the same as a Kaldi user has it: a data directory and exp/tri4_ali."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kaldi_files import model_bytes, tree_bytes, write_alignments
from test_graph import ARPA, LEXICON, triphone_tree

from asr_parallel.cli.main import main
from asr_parallel.features.archive import write_archive
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.kaldi.alignment_writer import archive_bytes
from asr_parallel.hmm.lang import Lang, build_lang, write_symbols
from asr_parallel.hmm.lexicon_fst import lexicon_fst
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import write_json

io = pytest.importorskip("kaldi_native_io")
DIM, SPEAKERS = 3, 5
ALI = "exp/tri4_ali"


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


def make_world(folder: Path) -> World:
    """Write the world into a folder."""
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
    archives = [archive_bytes(entries[job::jobs], binary) for job in range(jobs)]
    tree = tree_bytes(world.tree, world.transitions.topology, binary)
    write_alignments(folder, model_bytes(world.transitions, binary), tree, archives)
    shutil.copyfile(world.folder / "lang" / "phones.txt", folder / "phones.txt")
    return folder


def write_user(folder: Path, world: World) -> Path:
    """Write a folder as a Kaldi user has it: data/train and exp/tri4_ali."""
    write_data(folder / "data" / "train", world.matrices)
    write_system(folder / ALI, world)
    return folder


def run(kaldi: Path, out: Path, *more: str) -> int:
    """Import the user's alignments by the verb; return its exit status."""
    given = ["--data", str(kaldi / "data" / "train"), "--ali", str(kaldi / ALI)]
    return main(["import-kaldi-ali", *given, "--out", str(out), *more])
