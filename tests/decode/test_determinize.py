"""Determinised lattices against the state-level ones that they are made of."""

from types import SimpleNamespace

import numpy as np
import pytest
from toy_search import NUM_TIDS, PDF_OF, by_determinization, decoder, random_graph, scores

from asr_parallel.decode import determinize
from asr_parallel.decode.compact_lattice import with_strings
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.nbest import n_best
from asr_parallel.hmm.fst_arrays import LATTICE_ARC, Fst, fst_from_arcs


def determinizer(beam, acwt=1.0, seed=0):
    """A determinizer for which some transition ids begin a phone and others do not; any choice gives the same paths."""
    rng = np.random.default_rng(seed)
    transitions = SimpleNamespace(
        hmm_state_of=np.concatenate([[-1], rng.integers(0, 3, NUM_TIDS)]),
        phone_of=np.concatenate([[0], rng.integers(1, 9, NUM_TIDS)]),
        is_self_loop=np.concatenate([[False], rng.random(NUM_TIDS) < 0.3]),
    )
    return Determinizer(transitions, acwt, beam)


def all_paths(lattice, acwt=1.0):
    """Every path of a compact lattice as (cost, transition ids, words)."""
    found, stack = [], [(0, 0.0, (), ())]
    while stack:
        state, cost, tids, words = stack.pop()
        begin, end = lattice.final_spans[state]
        graph, acoustic = lattice.finals[state].astype(float)
        if graph < np.inf:
            found.append((cost + graph + acwt * acoustic, (*tids, *lattice.transition_ids[begin:end]), words))
        for word, graph, acoustic, target, begin, end in lattice.arcs[
            lattice.offsets[state] : lattice.offsets[state + 1]
        ].tolist():
            stack.append(
                (target, cost + graph + acwt * acoustic, (*tids, *lattice.transition_ids[begin:end]), (*words, word))
            )
    return sorted(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("acwt", [1.0, 0.4])
def test_each_word_sequence_keeps_its_best_path_and_no_other(seed, acwt):
    log_likelihoods = scores(seed, 8 + 2 * seed)
    raw = decoder(random_graph(seed), beam=40.0, lattice_beam=4.0, acwt=acwt).decode(log_likelihoods).lattice
    lattice = determinizer(4.0, acwt, seed)(raw)
    lattice.check_order()
    assert (lattice.arcs["olabel"] > 0).all()
    sources = np.repeat(np.arange(lattice.num_states), np.diff(lattice.offsets))
    assert len(np.unique(np.stack([sources, lattice.arcs["olabel"]]), axis=1).T) == len(lattice.arcs)
    found = all_paths(lattice, acwt)
    assert len({words for _, _, words in found}) == len(found) > 5
    scaled = raw.arcs.copy()
    scaled["acoustic_cost"] *= acwt
    expected = by_determinization(Fst(0, raw.finals, raw.offsets, scaled), 2 * len(found))
    limit, costs = found[0][0] + 4.0, {words: cost for cost, _, words in found}
    for cost, words in expected:
        if cost < limit - 0.01:
            assert costs[tuple(words)] == pytest.approx(cost, abs=5e-3)
    assert expected[-1][0] > limit or len(expected) < 2 * len(found)  # all were looked at
    # costs and transition ids belong together
    for _, tids, words in found[:: len(found) // 20 + 1]:
        assert len(tids) == len(log_likelihoods) and matches(raw, tids, words)
    best = best_paths(lattice, [(1 / acwt, 0.0)])[0]
    expected_best = best_paths(with_strings(raw), [(1 / acwt, 0.0)])[0]
    assert best.transition_ids.tolist() == expected_best.transition_ids.tolist()
    assert best.words == expected_best.words
    spoken = -log_likelihoods[np.arange(len(log_likelihoods)), PDF_OF[best.transition_ids]].sum()
    assert best.acoustic_cost == pytest.approx(float(spoken), abs=1e-3)
    assert best.graph_cost == pytest.approx(expected_best.graph_cost, abs=1e-3)


def matches(raw, tids, words):
    """Return True if the raw lattice has a path of these transition ids and words."""
    reached = {(0, 0, 0)}
    for state in range(raw.num_states):
        here = [place for place in reached if place[0] == state]
        for ilabel, olabel, _, _, target in raw.arcs[raw.offsets[state] : raw.offsets[state + 1]].tolist():
            for _, i, j in here:
                fits = not ilabel or tids[i : i + 1] == (ilabel,)
                if fits and (not olabel or words[j : j + 1] == (olabel,)):
                    reached.add((target, i + bool(ilabel), j + bool(olabel)))
    return any((s, len(tids), len(words)) in reached for s in np.flatnonzero(np.isfinite(raw.finals[:, 0])))


def test_n_best_lists_agree():
    raw = decoder(random_graph(8, states=300), beam=40.0, lattice_beam=6.0).decode(scores(2, 300)).lattice
    expected, found = n_best(with_strings(raw), 50, 1.0), n_best(determinizer(6.0)(raw), 50, 1.0)
    assert [words for _, words in found] == [words for _, words in expected]
    assert [cost for cost, _ in found] == pytest.approx([cost for cost, _ in expected], abs=5e-3)


def test_arrays_that_are_too_small_grow_and_one_determinizer_serves_many_lattices(monkeypatch):
    graph = decoder(random_graph(3), beam=40.0, lattice_beam=6.0)
    lattices = [graph.decode(scores(seed, frames)).lattice for seed, frames in ((0, 30), (1, 200), (2, 5), (1, 200))]
    expected = [determinizer(6.0)(raw) for raw in lattices]
    monkeypatch.setattr(determinize, "FIRST_SIZE", 2)
    small = determinizer(6.0)
    for raw, one in zip(lattices, expected, strict=True):
        found = small(raw)
        np.testing.assert_array_equal(found.arcs, one.arcs)
        np.testing.assert_array_equal(found.transition_ids, one.transition_ids)


def test_without_memory_for_the_beam_a_narrower_one_keeps_the_best_path(monkeypatch):
    raw = decoder(random_graph(3), beam=40.0, lattice_beam=6.0).decode(scores(1, 200)).lattice
    whole = determinizer(6.0)(raw)
    monkeypatch.setattr(determinize, "FIRST_SIZE", 32)
    monkeypatch.setattr(determinize, "LARGEST_SIZE", 512)
    part = determinizer(6.0)(raw)
    assert 0 < len(part.arcs) < len(whole.arcs)
    best, expected = (best_paths(lattice, [(1.0, 0.0)])[0] for lattice in (part, whole))
    assert best.transition_ids.tolist() == expected.transition_ids.tolist()


def test_costs_too_large_to_be_told_apart_leave_the_best_path():
    raw = decoder(random_graph(3), beam=40.0, lattice_beam=6.0).decode(scores(1, 40)).lattice
    arcs = raw.arcs.copy()
    arcs["acoustic_cost"] *= np.float32(1e18)
    huge = Fst(0, raw.finals, raw.offsets, arcs)
    best, expected = (best_paths(one, [(1.0, 0.0)])[0] for one in (determinizer(6.0)(huge), with_strings(huge)))
    assert best.words == expected.words and best.transition_ids.tolist() == expected.transition_ids.tolist()
    assert best.acoustic_cost == pytest.approx(expected.acoustic_cost, rel=1e-5)


def test_sequences_that_tie_beyond_all_memory_leave_the_best_path(monkeypatch):
    """2^10 word sequences of one cost, whose subsets differ: no beam makes them fewer."""
    rows, sources = [], []
    for t in range(20):
        for state, word in ((0, 1), (0, 2)) if t != 9 else ((0, 1),):
            sources.append(2 * t + state)
            rows.append((1 + t, word, 0.0, 1.0, 2 * t + 2))
        # the second track: the tenth word from the end is 1
        sources.append(2 * t + 1)
        rows.append((1 + t, 1 + t % 2, 0.0, 1.0, 2 * t + 3))
    finals = np.full((42, 2), np.inf, np.float32)
    finals[40:] = 0.0
    raw = fst_from_arcs(0, finals, np.array(sources), np.array(rows, LATTICE_ARC))
    monkeypatch.setattr(determinize, "FIRST_SIZE", 2)
    monkeypatch.setattr(determinize, "LARGEST_SIZE", 4)
    (best,) = best_paths(determinizer(6.0)(raw), [(1.0, 0.0)])
    (expected,) = best_paths(with_strings(raw), [(1.0, 0.0)])
    assert best.words == expected.words and best.transition_ids.tolist() == expected.transition_ids.tolist()
    assert (best.graph_cost, best.acoustic_cost) == (expected.graph_cost, expected.acoustic_cost) == (0.0, 20.0)


def test_a_lattice_without_words_or_with_costs_before_the_first_word_is_whole():
    """The start has costs that no arc could take: they stay on the arcs and at the end."""
    arcs = np.array([(1, 0, 0.5, 2.0, 1), (2, 7, 0.25, 1.0, 2)], LATTICE_ARC)
    finals = np.full((3, 2), np.inf, np.float32)
    finals[2] = 0.125, 0.0
    (path,) = best_paths(determinizer(5.0)(fst_from_arcs(0, finals, np.array([0, 1]), arcs)), [(1.0, 0.0)])
    assert (path.words, path.transition_ids.tolist()) == ([7], [1, 2])
    assert (path.graph_cost, path.acoustic_cost) == (0.875, 3.0)
    arcs["olabel"] = 0
    silent = determinizer(5.0)(fst_from_arcs(0, finals, np.array([0, 1]), arcs))
    (path,) = best_paths(silent, [(1.0, 0.0)])
    assert silent.num_states == 1 and path.words == [] and path.transition_ids.tolist() == [1, 2]
    assert (path.graph_cost, path.acoustic_cost) == (0.875, 3.0)


def test_lattices_without_order_or_end_are_refused():
    raw = decoder(random_graph(3), beam=40.0, lattice_beam=6.0).decode(scores(1, 20)).lattice
    arcs = raw.arcs.copy()
    arcs["next"][0] = 0
    with pytest.raises(ValueError, match="topological order"):
        determinizer(5.0)(Fst(0, raw.finals, raw.offsets, arcs))
    with pytest.raises(ValueError, match="no final state"):
        determinizer(5.0)(Fst(0, np.full_like(raw.finals, np.inf), raw.offsets, raw.arcs))
