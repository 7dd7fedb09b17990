"""Graphs without epsilon arcs have the paths of the graphs they are made of."""

from collections import Counter

import numpy as np
import pytest
from toy_search import PDF_OF, all_paths, random_graph, scores

from asr_parallel.decode.epsilon_free import NONE, EpsilonFreeGraph, without_epsilons
from asr_parallel.hmm.fst_arrays import STD_ARC, Fst
from asr_parallel.hmm.search_graph import SearchGraph, search_graph


def complete_paths(free: EpsilonFreeGraph, num_frames: int) -> list[list[int]]:
    """Every path of so many frames, as arcs; the one into the final state comes after them."""
    found, stack = [], [(0, ())]
    while stack:
        state, path = stack.pop()
        for arc in np.flatnonzero(free.sources == state).tolist():
            target, emitting = int(free.targets[arc]), free.arcs[arc] != NONE
            if not emitting and len(path) == num_frames:
                assert target == free.num_states - 1 and free.pdfs[arc] == -1
                found.append([*path, arc])
            elif emitting and len(path) < num_frames:
                stack.append((target, (*path, arc)))
    return found


def readings(free: EpsilonFreeGraph, graph: SearchGraph, log_likelihoods: np.ndarray) -> Counter:
    """Every path as (rounded cost, transition ids, words), read from the arcs of the old graph."""
    found: Counter = Counter()
    frames = np.arange(len(log_likelihoods) + 1)
    for path in complete_paths(free, len(log_likelihoods)):
        at, arcs = free.old_arcs(np.array(path), frames)
        old = graph.arcs[arcs]
        assert (
            old["next"][:-1].tolist() == source_states(graph)[arcs[1:]].tolist()
        )  # one arc goes on where another ends
        emitting = old["ilabel"] != 0
        assert at[emitting].tolist() == frames[:-1].tolist()
        acoustic = log_likelihoods[frames[:-1], free.pdfs[path[:-1]]].sum()
        cost = float(free.costs[path].sum() - acoustic)
        found[
            round(cost, 2), tuple(old["ilabel"][emitting].tolist()), tuple(old["olabel"][old["olabel"] > 0].tolist())
        ] += 1
    return found


def source_states(graph: SearchGraph) -> np.ndarray:
    return np.repeat(np.arange(graph.num_states), np.diff(graph.offsets))


@pytest.mark.parametrize("seed", range(6))
def test_paths_costs_and_labels_are_those_of_the_graph(seed: int) -> None:
    fst, log_likelihoods = random_graph(seed, states=25, out=3), np.round(scores(seed, 3) * 8) / 8
    fst.arcs["weight"][:] = np.round(fst.arcs["weight"] * 8) / 8  # sums are exact, so that they are equal
    fst.finals[:] = np.round(fst.finals * 8) / 8
    graph = search_graph(fst)
    expected = Counter((round(cost, 2), tids, words) for cost, tids, words in all_paths(fst, log_likelihoods))
    free = without_epsilons(graph, PDF_OF)
    assert len(expected) > 1 and (free.after != NONE).any()
    assert readings(free, graph, log_likelihoods) == expected


def test_arcs_are_in_order_and_useless_states_are_gone() -> None:
    """A state with epsilon arcs only is no state; that into which two of them lead gets both words."""
    arcs = np.array([(0, 4, 1, 1), (1, 0, 2, 2), (0, 5, 4, 3), (0, 6, 8, 3), (2, 0, 16, 3)], STD_ARC)
    finals = np.array([np.inf, np.inf, np.inf, 32], np.float32)
    graph = search_graph(Fst(0, finals, np.array([0, 1, 2, 4, 5]), arcs))
    free = without_epsilons(graph, PDF_OF)
    assert free.num_states == 4  # start, the states 1 and 3, the final one
    assert list(zip(free.sources.tolist(), free.targets.tolist(), free.costs.tolist(), strict=True)) == [
        (0, 2, 7.0),
        (0, 2, 11.0),
        (1, 2, 6.0),
        (1, 2, 10.0),
        (2, 3, 32.0),
        (2, 2, 16.0),
    ]
    used, frames = np.array([1, 5, 4]), np.array([0, 1, 2])
    at, old = free.old_arcs(used, frames)
    assert at.tolist() == [0, 0, 1, 1] and graph.arcs[old]["olabel"].tolist() == [4, 0, 6, 0]
