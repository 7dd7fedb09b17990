"""A graph, log-likelihoods and lattices that Kaldi's programs wrote: the same words and costs here."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from kaldi_golden import GOLDEN, lines, matrices

from asr_parallel.cli.main import main
from asr_parallel.decode.compact_lattice import CompactLattice, with_strings
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.lattice import BestPath, best_paths
from asr_parallel.decode.lattice_archive import read_lattices
from asr_parallel.decode.nbest import n_best
from asr_parallel.hmm.lang import build_lang
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.hmm.transitions import TransitionModel

ACWT, BEAM = 0.1, 20.0  # of make_fixtures.sh
OPTIONS = DecoderOptions(beam=40.0, lattice_beam=BEAM, acwt=ACWT)
KINDS = ("compact", "states")
MANY = 1000  # more word sequences than the lattices hold


def lattices(kind: str) -> dict[str, CompactLattice]:
    return dict(read_lattices(GOLDEN / "lattices" / f"{kind}.ark.gz"))


def check(key: str, path: BestPath, within: float = 1e-3) -> None:
    """Compare a best path with that of Kaldi's lattice-best-path."""
    assert path.words == [int(word) for word in lines("lattices/words.txt")[key]]
    assert path.transition_ids.tolist() == [int(word) for word in lines("lattices/ali.txt")[key]]
    (graph_cost,), (acoustic_cost,) = (lines(f"lattices/{name}_costs.txt")[key] for name in ("graph", "acoustic"))
    assert path.graph_cost == pytest.approx(float(graph_cost), abs=within)
    assert path.acoustic_cost == pytest.approx(float(acoustic_cost), rel=1e-4)


def near(lattice: CompactLattice) -> dict[tuple[int, ...], float]:
    """Return the costs of word sequences within most of the beam; at its very edge rounding decides."""
    found = n_best(lattice, MANY, 1 / ACWT)
    return {tuple(words): cost for cost, words in found if cost < found[0][0] + 0.9 * BEAM}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaldi's graph, imported."""
    out = tmp_path_factory.mktemp("graph") / "graph"
    words = ["--hclg", str(GOLDEN / "graph" / "HCLG.fst"), "--model", str(GOLDEN / "tri" / "final.mdl")]
    assert main(["import-kaldi-graph", *words, "--out", str(out)]) == 0
    return out


def test_decoding_kaldis_log_likelihoods_with_its_graph_gives_its_lattices(graph: Path) -> None:
    transitions = TransitionModel.open(graph)
    decoder = Decoder(SearchGraph.open(graph / "search"), transitions.pdf_of, OPTIONS)
    determinizer = Determinizer(transitions, ACWT, BEAM)
    kaldis = lattices("compact"), lattices("states")
    for key, likes in matrices("tri/likes.ark").items():
        decoded = decoder.decode(np.array(likes))
        assert decoded.lattice is not None and decoded.reached_final
        assert len(decoded.lattice.arcs) == pytest.approx(len(kaldis[1][key].arcs), rel=0.02)
        compact = determinizer(decoded.lattice)
        check(key, best_paths(compact, [(1 / ACWT, 0.0)])[0])
        expected = near(kaldis[0][key])
        assert near(compact) == pytest.approx(expected, abs=1e-2) and len(expected) > 5


def test_a_graph_made_here_of_kaldis_system_gives_the_paths_of_kaldis_graph(tmp_path: Path) -> None:
    made = runpy.run_path(str(GOLDEN / "make_data.py"))
    build_lang(tmp_path / "lang", made["LEXICON"])
    log10 = -math.log10(len(made["WORDS"]) + 1)  # of every word, and of the end, as in make_data.py
    unigrams = [f"{log10:.6f}\t{word}" for word in ("</s>", *made["WORDS"])]
    rows = ["\\data\\", f"ngram 1={len(unigrams) + 1}", "", "\\1-grams:", "-99\t<s>", *unigrams, "", "\\end\\", ""]
    (tmp_path / "lm.arpa").write_text("\n".join(rows), encoding="utf-8")
    assert main(["import-kaldi-gmm", "--system", str(GOLDEN / "tri"), "--out", str(tmp_path / "tri")]) == 0
    made_of = ["--lang", str(tmp_path / "lang"), "--lm", str(tmp_path / "lm.arpa"), "--model", str(tmp_path / "tri")]
    assert main(["make-graph", *made_of, "--out", str(tmp_path / "graph")]) == 0
    graph = SearchGraph.open(tmp_path / "graph" / "search")
    decoder = Decoder(graph, TransitionModel.open(tmp_path / "graph").pdf_of, OPTIONS)
    for key, likes in matrices("tri/likes.ark").items():
        lattice = decoder.decode(np.array(likes)).lattice
        assert lattice is not None
        check(key, best_paths(with_strings(lattice), [(1 / ACWT, 0.0)])[0], within=0.03)  # minimisation rounds weights


@pytest.mark.parametrize("kind", KINDS)
def test_kaldis_lattices_have_the_best_paths_that_kaldi_finds_in_them(kind: str) -> None:
    found = lattices(kind)
    assert list(found) == list(lines("lattices/words.txt"))
    for key, lattice in found.items():
        check(key, best_paths(lattice, [(1 / ACWT, 0.0)])[0])


def test_kaldis_state_level_lattices_have_the_word_sequences_of_its_compact_ones() -> None:
    compact, states = (lattices(kind) for kind in KINDS)
    for key, lattice in compact.items():
        assert near(states[key]) == pytest.approx(near(lattice), abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_is_one_line(tmp_path: Path, kind: str) -> None:
    data = (GOLDEN / "lattices" / f"{kind}.ark.gz").read_bytes()
    (tmp_path / "lat.1.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"lat\.1\.gz: damaged"):
        list(read_lattices(tmp_path / "lat.1.gz"))
