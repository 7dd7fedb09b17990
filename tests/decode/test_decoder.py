"""The search against exhaustive enumeration and against kaldi-decoder's searches."""

import kaldi_decoder
import kaldifst
import numpy as np
import pytest
from toy_search import PDF_OF, all_paths, by_determinization, decoder, random_graph, scores

from asr_parallel.decode.compact_lattice import with_strings
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.nbest import n_best
from asr_parallel.decode.search import PRUNE_INTERVAL
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, from_kaldifst, to_kaldifst
from asr_parallel.hmm.search_graph import search_graph


def lattice_paths(lattice: Fst, acwt=1.0):
    """Every path of a lattice in the same form."""
    found = []
    stack = [(lattice.start, 0.0, (), ())]
    while stack:
        state, cost, tids, words = stack.pop()
        final = lattice.finals[state]
        if np.isfinite(final[0]):
            found.append((cost + float(final[0]), tids, words))
        for ilabel, olabel, graph, acoustic, target in lattice.arcs[
            lattice.offsets[state] : lattice.offsets[state + 1]
        ].tolist():
            stack.append(
                (
                    target,
                    cost + graph + acwt * acoustic,
                    (*tids, ilabel) if ilabel else tids,
                    (*words, olabel) if olabel else words,
                )
            )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_lattice_holds_exactly_the_paths_within_its_beam(seed):
    fst, log_likelihoods, acwt = random_graph(seed, states=25, out=3), scores(seed, 5), 0.5
    every = all_paths(fst, log_likelihoods, acwt)
    best = min(cost for cost, _, _ in every)
    decoded = decoder(fst, beam=200.0, lattice_beam=3.0, acwt=acwt).decode(log_likelihoods)
    assert decoded.reached_final
    kept = lattice_paths(decoded.lattice, acwt)
    near = {(tids, words) for cost, tids, words in every if cost < best + 3.0 - 1e-4}
    assert near <= {(tids, words) for _, tids, words in kept}
    assert len(near) > 1
    cheapest = {}
    for cost, *labels in every:
        cheapest[(*labels,)] = min(cost, cheapest.get((*labels,), np.inf))
    for cost, *labels in kept:
        assert cost > cheapest[(*labels,)] - 1e-4
    # every arc lies on a path within the beam
    assert min(cost for cost, _, _ in kept) == pytest.approx(best, abs=1e-4)
    assert pruned_size(decoded.lattice, 3.0 + 1e-4, acwt) == len(decoded.lattice.arcs)


def pruned_size(lattice, beam, acwt):
    """Number of arcs whose best path is within `beam` of the best."""
    forward = np.full(lattice.num_states, np.inf)
    backward = lattice.finals[:, 0].astype(float)
    forward[0] = 0.0
    rows = [
        (s, a["next"], a["graph_cost"] + acwt * a["acoustic_cost"])
        for s, a in zip(lattice.sources, lattice.arcs, strict=True)
    ]
    for source, target, cost in rows:
        forward[target] = min(forward[target], forward[source] + cost)
    for source, target, cost in reversed(rows):
        backward[source] = min(backward[source], backward[target] + cost)
    return sum(forward[s] + cost + backward[t] <= backward[0] + beam for s, t, cost in rows)


def faster_decoder(fst, log_likelihoods, **options):
    graph = to_kaldifst(fst)
    oracle = kaldi_decoder.FasterDecoder(graph, kaldi_decoder.FasterDecoderOptions(**options))
    oracle.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(log_likelihoods[:, PDF_OF[1:]])))
    assert oracle.reached_final()
    _, best = oracle.get_best_path()
    _, tids, words, weight = kaldifst.get_linear_symbol_sequence(best)
    return tids, words, weight.value1 + weight.value2


@pytest.mark.parametrize("frames", [1, 25, 130])
@pytest.mark.parametrize("limits", [{"max_active": 7000, "min_active": 200}, {"max_active": 300, "min_active": 20}])
def test_best_path_is_that_of_kaldi_decoder(frames, limits):
    fst, log_likelihoods = random_graph(5, states=2000), scores(1, frames)
    decoded = decoder(fst, beam=30.0, **limits).decode(log_likelihoods)
    tids, words, cost = faster_decoder(fst, log_likelihoods, beam=30.0, **limits)
    (path,) = best_paths(with_strings(decoded.lattice), [(1.0, 0.0)])
    assert path.graph_cost + path.acoustic_cost == pytest.approx(cost, abs=2e-3)
    assert path.words == words and path.transition_ids.tolist() == tids


def test_lattice_holds_the_word_sequences_of_kaldi_decoders_lattice():
    """Across several prunings, where a mistake would lose or invent paths."""
    fst, log_likelihoods = random_graph(8, states=300), scores(2, 4 * PRUNE_INTERVAL + 3)
    decoded = decoder(fst, beam=40.0, lattice_beam=5.0).decode(log_likelihoods)
    graph = to_kaldifst(fst)
    oracle = kaldi_decoder.LatticeSimpleDecoder(
        graph, kaldi_decoder.LatticeSimpleDecoderConfig(beam=40.0, lattice_beam=5.0)
    )
    oracle.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(log_likelihoods[:, PDF_OF[1:]])))
    ok, raw = oracle.get_raw_lattice()
    assert ok
    expected, found = by_determinization(from_kaldifst(raw), 30), n_best(with_strings(decoded.lattice), 30, 1.0)
    assert len(found) == 30 and found[-1][0] < found[0][0] + 5.0
    for (cost, words), (expected_cost, expected_words) in zip(found, expected, strict=True):
        assert cost == pytest.approx(expected_cost, abs=5e-3) and words == expected_words


def test_limits_on_active_tokens_are_kept():
    fst, log_likelihoods = random_graph(5, states=3000), scores(3, 60)
    wide = decoder(fst, beam=100.0, max_active=5000, min_active=0).decode(log_likelihoods)
    narrow = decoder(fst, beam=100.0, max_active=100, min_active=0).decode(log_likelihoods)
    held_open = decoder(fst, beam=0.1, max_active=5000, min_active=300).decode(log_likelihoods)
    shut = decoder(fst, beam=0.1, max_active=5000, min_active=0).decode(log_likelihoods)
    assert narrow.active_tokens < wide.active_tokens / 3
    assert held_open.active_tokens > 300 > 10 > shut.active_tokens
    best, pruned = (best_paths(with_strings(one.lattice), [(1.0, 0.0)])[0] for one in (wide, narrow))
    assert pruned.graph_cost + pruned.acoustic_cost >= best.graph_cost + best.acoustic_cost


def test_without_a_final_state_every_state_ends_the_path():
    fst = random_graph(1, final_share=0.0)
    decoded = decoder(fst, min_active=0).decode(scores(0, 30))
    assert not decoded.reached_final
    loose = Fst(fst.start, np.zeros_like(fst.finals), fst.offsets, fst.arcs)
    expected = decoder(loose, min_active=0).decode(scores(0, 30))
    assert expected.reached_final
    np.testing.assert_array_equal(decoded.lattice.arcs, expected.lattice.arcs)


def test_a_search_that_dies_and_an_empty_utterance_have_no_lattice():
    arcs = np.array([(1, 3, 0.5, 1), (2, 0, 0.5, 2)], STD_ARC)
    line = Fst(0, np.array([np.inf, np.inf, 0], np.float32), np.array([0, 1, 2, 2]), arcs)
    assert decoder(line).decode(scores(0, 2)).lattice is not None
    for frames in (0, 3):
        dead = decoder(line).decode(scores(0, frames))
        assert dead.lattice is None and not dead.reached_final


def test_one_decoder_gives_the_same_again_and_leaves_no_trace():
    fst, search = random_graph(5), None
    search = decoder(fst)
    first, _, again = (search.decode(scores(s, 40)).lattice for s in (1, 2, 1))
    np.testing.assert_array_equal(first.arcs, again.arcs)
    np.testing.assert_array_equal(first.finals, again.finals)


def test_bad_input_is_refused_in_one_line():
    search = decoder(random_graph(0))
    bad = scores(0, 10)
    bad[7, 3] = np.nan
    for log_likelihoods, message in ((bad, "frame 7"), (scores(0, 4)[:, :5], "20 columns"), (bad[0], "20 columns")):
        with pytest.raises(ValueError, match=message):
            search.decode(log_likelihoods)
    with pytest.raises(ValueError, match="made of another model"):
        Decoder(search_graph(random_graph(0)), PDF_OF[:30], DecoderOptions())
    for options in ({"beam": 0.0}, {"acwt": -1.0}, {"max_active": 10, "min_active": 10}):
        with pytest.raises(ValueError, match=r"expected|must be"):
            DecoderOptions(**options)
