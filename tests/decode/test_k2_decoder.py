"""Decoding by k2 finds what the native decoder finds."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_system import OPTIONS, make_tiny_system
from toy_search import PDF_OF, random_graph, scores

from asr_parallel.cli.main import main
from asr_parallel.decode.compact_lattice import with_strings
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderChoice, DecoderOptions
from asr_parallel.decode.k2_decoder import K2Decoder, open_k2
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.lattice_archive import read_lattices
from asr_parallel.decode.nbest import n_best
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst
from asr_parallel.hmm.search_graph import search_graph

with_k2 = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="needs the optional package k2")
WIDE = DecoderOptions(acwt=1.0, beam=60.0, lattice_beam=5.0, max_active=100_000)


def both(fst: Fst, options: DecoderOptions = WIDE) -> tuple[Decoder, K2Decoder]:
    graph = search_graph(fst)
    return Decoder(graph, PDF_OF, options), K2Decoder(graph, PDF_OF, options, "cpu")


@with_k2
def test_lattices_are_those_of_the_native_decoder() -> None:
    """Utterances of several lengths in one batch, the longest pruned in several windows."""
    native, other = both(random_graph(8, states=300), WIDE)
    batch = [scores(seed, frames) for seed, frames in enumerate((1, 83, 25, 130))]
    for log_likelihoods, found in zip(batch, other.decode(batch), strict=True):
        expected = native.decode(log_likelihoods)
        assert expected.lattice is not None and found.lattice is not None
        assert expected.reached_final and found.reached_final and found.active_tokens is None
        with_strings(found.lattice).check_order()
        assert len(found.lattice.arcs) == len(expected.lattice.arcs)
        for name in ("ilabel", "olabel"):
            assert np.array_equal(np.sort(found.lattice.arcs[name]), np.sort(expected.lattice.arcs[name]))
        (here,), (there,) = (best_paths(with_strings(one.lattice), [(1.0, 0.0)]) for one in (expected, found))
        assert here.words == there.words and here.transition_ids.tolist() == there.transition_ids.tolist()
        assert (there.graph_cost, there.acoustic_cost) == pytest.approx((here.graph_cost, here.acoustic_cost), abs=1e-3)
        lists = [n_best(with_strings(one.lattice), 20, 1.0) for one in (expected, found)]
        assert [words for _, words in lists[0]] == [words for _, words in lists[1]]
        assert [cost for cost, _ in lists[0]] == pytest.approx([cost for cost, _ in lists[1]], abs=1e-3)


@with_k2
def test_a_narrow_search_loses_no_more_than_it_must() -> None:
    fst, log_likelihoods = random_graph(5, states=3000), scores(3, 60)
    (wide,) = both(fst)[1].decode([log_likelihoods])
    narrow_options = DecoderOptions(acwt=1.0, beam=60.0, lattice_beam=5.0, max_active=100, min_active=0)
    (narrow,) = both(fst, narrow_options)[1].decode([log_likelihoods])
    costs = []
    for decoded in (wide, narrow):
        assert decoded.lattice is not None
        (best,) = best_paths(with_strings(decoded.lattice), [(1.0, 0.0)])
        costs.append(best.graph_cost + best.acoustic_cost)
    assert costs[0] < costs[1]


@with_k2
def test_without_a_final_state_every_state_ends_the_path() -> None:
    native, other = both(random_graph(1, final_share=0.0))
    log_likelihoods = scores(0, 30)
    expected, (found, _) = native.decode(log_likelihoods), other.decode([log_likelihoods, scores(1, 9)])
    assert not found.reached_final and found.lattice is not None and expected.lattice is not None
    lists = [n_best(with_strings(one), 10, 1.0) for one in (expected.lattice, found.lattice)]
    assert [words for _, words in lists[0]] == [words for _, words in lists[1]]
    assert [cost for cost, _ in lists[0]] == pytest.approx([cost for cost, _ in lists[1]], abs=1e-3)


@with_k2
def test_a_search_that_dies_has_no_lattice_and_disturbs_no_other() -> None:
    arcs = np.array([(1, 3, 0.5, 1), (2, 0, 0.5, 2)], STD_ARC)
    line = Fst(0, np.array([np.inf, np.inf, 0], np.float32), np.array([0, 1, 2, 2]), arcs)
    _, other = both(line)
    fits, dies = other.decode([scores(0, 2), scores(0, 3)])
    assert fits.reached_final and fits.lattice is not None
    assert dies.lattice is None and not dies.reached_final
    assert other.decode([]) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return folders lang, feats, model, graph, of which one utterance is empty and one has no finite scores."""
    folder = tmp_path_factory.mktemp("tiny system")
    make_tiny_system(folder)
    return folder


def verb(tiny: Path, out: Path, *words: str) -> int:
    given = ["--graph", tiny / "graph", "--model", tiny / "model", "--feats", tiny / "feats", "--out", out]
    return main(["decode", *map(str, given), "--lattice-beam", f"{OPTIONS.lattice_beam}", "--nbest", "3", *words])


@with_k2
def test_the_verb_decodes_a_set_as_the_native_decoder_does(tiny: Path, tmp_path: Path) -> None:
    native, other = tmp_path / "native", tmp_path / "k2"
    assert verb(tiny, native, "--jobs", "1") == 0
    assert verb(tiny, other, "--decoder", "k2", "--device", "cpu", "--batch-frames", "70") == 0
    assert (native / "1best.txt").read_text() == (other / "1best.txt").read_text()
    lines = [[line.split() for line in (out / "nbest.txt").read_text().splitlines()] for out in (native, other)]
    assert [line[:1] + line[2:] for line in lines[0]] == [line[:1] + line[2:] for line in lines[1]]
    assert [float(line[1]) for line in lines[0]] == pytest.approx([float(line[1]) for line in lines[1]], abs=2e-3)
    here, there = (json.loads((out / "decode.json").read_text()) for out in (native, other))
    for name in ("failed", "utterances", "without_final_state", "audio_seconds", "options"):
        assert here[name] == there[name]
    assert there["decoder"] == "k2" and there["scored_on"] == "cpu"
    assert there["mean_active_tokens"] is None and there["cpu_seconds"] > 0
    ids, lattices = zip(*read_lattices(other / "lat.1.gz"), strict=True)
    assert ids == tuple(utterance for utterance, _ in read_lattices(native / "lat.1.gz"))
    for lattice in lattices:
        lattice.check_order()
    written = (other / "lat.1.gz").stat().st_mtime_ns
    assert (
        verb(tiny, other, "--decoder", "k2", "--device", "cpu") == 0
    )  # the size of batches is no reason to decode again
    assert (other / "lat.1.gz").stat().st_mtime_ns == written
    assert verb(tiny, other, "--jobs", "1") == 0
    assert (other / "lat.1.gz").stat().st_mtime_ns != written


@with_k2
def test_a_gpu_that_k2_cannot_use_is_refused() -> None:
    if importlib.import_module("k2").with_cuda:
        pytest.skip("this k2 can use a GPU")
    assert open_k2("auto")[1].type == "cpu"
    with pytest.raises(ValueError, match="device cuda: "):
        open_k2("cuda")


def test_without_k2_the_message_names_the_extra(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    assert verb(tiny, tmp_path / "out", "--decoder", "k2") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "needs the optional package 'k2': pip install 'asr-parallel[k2]'" in line
    assert not (tmp_path / "out").exists()


def test_the_native_decoder_refuses_options_of_k2(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb(tiny, tmp_path / "out", "--batch-frames", "100") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "--batch-frames: an option of --decoder k2" in line
    with pytest.raises(ValueError, match="unknown decoder 'other'"):
        DecoderChoice(decoder="other")
