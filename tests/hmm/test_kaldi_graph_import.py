"""Import of Kaldi's decoding graphs: this package's own, in OpenFst's formats, bytes written by hand, and faults."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import kaldifst
import numpy as np
import pytest
from kaldi_files import CHAIN_MODEL, model_bytes
from test_graph import ARPA, LEXICON, triphone_tree

from asr_parallel.cli.main import main
from asr_parallel.decode.compact_lattice import with_strings
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.lattice import best_paths
from asr_parallel.hmm.const_fst import read_graph
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, fst_bytes, fst_from_arcs
from asr_parallel.hmm.graph import make_graph
from asr_parallel.hmm.lang import Lang, build_lang
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel

SEARCHED = ("offsets", "first_epsilon", "arcs", "finals")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders lang, tri and graph of this package."""
    folder = tmp_path_factory.mktemp("own")
    build_lang(folder / "lang", LEXICON)
    (folder / "lm.arpa").write_text(ARPA, encoding="utf-8")
    lang = Lang.open(folder / "lang")
    topology = Topology.of_phones(lang.silence_phones, lang.nonsilence_phones, 3, 2)
    tree = triphone_tree(lang, topology)
    transitions = TransitionModel.build(topology, tree)
    random = np.random.default_rng(3)
    (folder / "tri").mkdir()
    tree.save(folder / "tri")
    transitions.updated(random.integers(6, 60, transitions.num_transition_ids + 1)).save(folder / "tri")
    (folder / "graph").mkdir()
    make_graph(folder / "graph", folder / "lang", folder / "lm.arpa", folder / "tri")
    return folder


@pytest.fixture
def kaldi(own: Path, tmp_path: Path) -> Path:
    """The same as Kaldi has it: graph/HCLG.fst in the const format, graph/*.txt and final.mdl."""
    (tmp_path / "graph").mkdir()
    vector = kaldifst.StdVectorFst.read(str(own / "graph" / "HCLG.fst"))
    assert kaldifst.StdConstFst(vector).write(str(tmp_path / "graph" / "HCLG.fst"))
    for name in ("words.txt", "phones.txt"):
        shutil.copyfile(own / "graph" / name, tmp_path / "graph" / name)
    (tmp_path / "final.mdl").write_bytes(model_bytes(TransitionModel.open(own / "tri"), binary=True))
    return tmp_path


def run(kaldi: Path, *more: str | Path) -> int:
    words = ("--hclg", kaldi / "graph" / "HCLG.fst", "--model", kaldi / "final.mdl", "--out", kaldi / "out", *more)
    return main(["import-kaldi-graph", *map(str, words)])


def aligned(data: bytes) -> bytes:
    """Return a const FST of version 2, which is not aligned, as one of version 1."""
    at = data.index(b"standard") + len("standard")
    (_, states, _) = struct.unpack_from("<qqq", data, at + 16)
    header = data[:at] + struct.pack("<i", 1) + data[at + 4 : at + 40]
    body = data[at + 40 :]
    made = header + bytes(-len(header) % 16) + body[: states * 20]
    return made + bytes(-len(made) % 16) + body[states * 20 :]


@pytest.mark.parametrize("form", ["const", "aligned", "vector"])
def test_an_imported_graph_is_the_one_that_was_made(own: Path, kaldi: Path, form: str) -> None:
    path = kaldi / "graph" / "HCLG.fst"
    if form == "aligned":
        path.write_bytes(aligned(path.read_bytes()))
    if form == "vector":
        shutil.copyfile(own / "graph" / "HCLG.fst", path)
    assert run(kaldi) == 0
    made, found = (SearchGraph.open(folder / "search") for folder in (own / "graph", kaldi / "out"))
    assert found.start == made.start
    assert all(np.array_equal(getattr(found, name), getattr(made, name)) for name in SEARCHED)
    for name in ("words.txt", "phones.txt", "HCLG.fst"):
        assert (kaldi / "out" / name).read_bytes() == (own / "graph" / name).read_bytes()


def test_an_imported_graph_decodes_the_same(own: Path, kaldi: Path) -> None:
    assert run(kaldi) == 0
    random = np.random.default_rng(1)
    found = []
    for folder in (own / "graph", kaldi / "out"):
        graph, transitions = SearchGraph.open(folder / "search"), TransitionModel.open(folder)
        decoder = Decoder(graph, transitions.pdf_of, DecoderOptions())
        random = np.random.default_rng(1)
        decoded = [decoder.decode(5 * random.normal(size=(30, transitions.num_pdfs)).astype(np.float32)) for _ in "123"]
        lattices = [with_strings(one.lattice) for one in decoded if one.lattice is not None]
        found.append([best_paths(lattice, [(10.0, 0.0)])[0].words for lattice in lattices])
    assert found[0] == found[1] and any(found[0])


def test_words_may_be_elsewhere_and_phones_missing(kaldi: Path) -> None:
    (kaldi / "graph" / "words.txt").rename(kaldi / "symbols")
    (kaldi / "graph" / "phones.txt").unlink()
    assert run(kaldi, "--words", kaldi / "symbols") == 0
    assert (kaldi / "out" / "words.txt").is_file() and not (kaldi / "out" / "phones.txt").exists()


def test_a_const_fst_by_hand(tmp_path: Path) -> None:
    infinite = struct.pack("<f", np.inf)
    (tmp_path / "fst").write_bytes(
        struct.pack("<ii", 2125659606, 5) + b"const" + struct.pack("<i", 8) + b"standard"
        + struct.pack("<iiQqqq", 2, 0, 1, 1, 2, 2)
        + struct.pack("<fIIII", 1.5, 0, 0, 0, 0) + infinite + struct.pack("<IIII", 0, 2, 1, 1)
        + struct.pack("<iifi", 1, 2, 0.5, 0) + struct.pack("<iifi", 0, 0, 0.25, 1)
    )  # fmt: skip
    found = read_graph(tmp_path / "fst")
    assert found.start == 1 and found.offsets.tolist() == [0, 0, 2] and found.finals.tolist() == [1.5, np.inf]
    assert found.arcs.tolist() == [(1, 2, 0.5, 0), (0, 0, 0.25, 1)]


def edit_graph(change: Callable[[Fst], Fst]) -> Callable[[Path], None]:
    """Return a function that changes the graph, which is then in the vector format."""

    def apply(kaldi: Path) -> None:
        path = kaldi / "graph" / "HCLG.fst"
        path.write_bytes(fst_bytes(change(read_graph(path))))

    return apply


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(kaldi: Path) -> None:
        (kaldi / name).write_bytes(change((kaldi / name).read_bytes()))

    return apply


def with_arcs(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Fst], Fst]:
    def change(fst: Fst) -> Fst:
        arcs = fst.arcs.copy()
        arcs[name] = value(arcs[name])
        return Fst(fst.start, fst.finals, fst.offsets, arcs)

    return change


def with_flags(data: bytes) -> bytes:
    at = data.index(b"standard") + len("standard") + 4
    return data[:at] + struct.pack("<i", 1) + data[at + 4 :]


def epsilon_cycle(fst: Fst) -> Fst:
    arc = np.array([(0, 0, 0.0, fst.start)], dtype=STD_ARC)
    return fst_from_arcs(fst.start, fst.finals, np.append(fst.sources, fst.start), np.append(fst.arcs, arc))


def without_loops(fst: Fst) -> Fst:
    moves = fst.arcs["next"] != fst.sources
    return fst_from_arcs(fst.start, fst.finals, fst.sources[moves], fst.arcs[moves])


GRAPH, MODEL, WORDS = "graph/HCLG.fst", "final.mdl", "graph/words.txt"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no graph": (lambda kaldi: (kaldi / GRAPH).unlink(), "HCLG.fst: no such FST"),
    "no words": (lambda kaldi: (kaldi / WORDS).unlink(), "words.txt: no such file; expected the words of the graph"),
    "no model": (lambda kaldi: (kaldi / MODEL).unlink(), "final.mdl: no such file; expected Kaldi's final.mdl"),
    "not an FST": (edit(GRAPH, lambda _: b"0 1 2 3\n" * 20), "HCLG.fst: not a binary vector FST"),
    "an empty file": (edit(GRAPH, lambda _: b""), "HCLG.fst: too short to hold an FST"),
    "a truncated header": (edit(GRAPH, lambda data: data[:50]), "HCLG.fst: too short to hold an FST"),
    "truncated": (edit(GRAPH, lambda data: data[:-8]), "states and "),
    "more after it": (edit(GRAPH, lambda data: data + b"\0"), "states and "),
    "symbols in it": (edit(GRAPH, with_flags), "a const FST with symbols; expected one without"),
    "damaged": (edit(GRAPH, lambda data: data[:73] + b"\1" + data[74:]), "damaged: its states have other arcs than it"),
    "an empty graph": (edit_graph(lambda fst: Fst(-1, fst.finals, fst.offsets, fst.arcs)), "the FST is empty"),
    "an arc to nowhere": (edit_graph(with_arcs("next", lambda to: to + 10**6)), "an arc leads to none of its"),
    "a weight that is no number": (
        edit_graph(with_arcs("weight", lambda cost: cost * np.nan)),
        "a weight is not a num",
    ),
    "transition ids beyond the model": (
        edit_graph(with_arcs("ilabel", lambda label: np.where(label == label.max(), 9999, label))),
        "an arc has transition id 9999; those of ",
    ),
    "negative labels": (edit_graph(with_arcs("ilabel", lambda label: -label)), "an arc has transition id -"),
    "a grammar": (edit_graph(with_arcs("ilabel", lambda label: 0 * label)), "no arc has a transition id; expected a"),
    "a graph of another model": (
        edit_graph(with_arcs("ilabel", lambda label: np.where(label > 1, label - 1, label))),
        "leads to another state, but is a self-loop in ",
    ),
    "no self-loops": (edit_graph(without_loops), "expected HCLG.fst with self-loops, not HCLGa.fst"),
    "words of another graph": (
        edit(WORDS, lambda data: b"\n".join(data.splitlines()[:3]) + b"\n"),
        "which is not in ",
    ),
    "malformed words": (edit(WORDS, lambda data: data + b"one two\n"), "expected 'symbol id', got 'one two'"),
    "a cycle without frames": (edit_graph(epsilon_cycle), "has a cycle of arcs without input label"),
    "a truncated model": (edit(MODEL, lambda data: data[:100]), "final.mdl: byte "),
    "a chain model": (
        edit(MODEL, lambda _: CHAIN_MODEL.encode()),
        "final.mdl: state 0 of phone 1 has no self-loop, or",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line(kaldi: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(kaldi)
    assert run(kaldi) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert message in line and not (kaldi / "out").exists()


def test_phones_that_are_not_there_are_one_line(kaldi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(kaldi, "--phones", kaldi / "nowhere") == 1
    assert "nowhere: no such file; expected the phones of the model" in capsys.readouterr().err
