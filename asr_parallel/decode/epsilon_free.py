"""A decoding graph without epsilon arcs, for searches in which every arc takes a frame, and the way back.

Every arc of the new graph is a path through the old one: an emitting arc, then any number of epsilon arcs. So an arc
into a state with back-off arcs becomes several, one to each state that they lead to. The other way round, with the
epsilon arcs first, a state would get copies of all arcs of the states that it backs off to, of which there are many
more. Only the arcs of the start state have epsilon arcs on both sides.
"""

from dataclasses import dataclass

import numpy as np

from asr_parallel.hmm.search_graph import SearchGraph

NONE = -1  # instead of an arc or a chain


@dataclass(frozen=True)
class EpsilonFreeGraph:
    """S states, of which 0 is the start and S - 1 the only final one, and A arcs sorted by source and pdf.

    sources, targets: (A,) int32.
    pdfs: (A,) int32; -1 for the arcs into the final state, which take no frame.
    costs: (A,) float32.
    arcs: (A,) int64, the emitting arc of the old graph; -1 for arcs into the final state.
    before, after: (A,) int64, the chains of epsilon arcs on both sides of it; -1 for none.
    last_arc, previous: (C,) int64, of each chain the last arc in the old graph, and the chain of those before it or -1.
    """

    num_states: int
    sources: np.ndarray
    targets: np.ndarray
    pdfs: np.ndarray
    costs: np.ndarray
    arcs: np.ndarray
    before: np.ndarray
    after: np.ndarray
    last_arc: np.ndarray
    previous: np.ndarray

    def old_arcs(self, used: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the different (frame, arc of the old graph) pairs on arcs `used` in `frames`.

        An epsilon arc belongs to the frame that follows it. The pairs are in order.
        """
        emitting = self.arcs[used] != NONE
        found = [(frames[emitting], self.arcs[used[emitting]])]
        for chains, at in ((self.before[used], frames), (self.after[used], frames + 1)):
            while (some := chains != NONE).any():
                chains, at = chains[some], at[some]
                found.append((at, self.last_arc[chains]))
                chains = self.previous[chains]
        all_frames, all_arcs = (np.concatenate(parts) for parts in zip(*found, strict=True))
        pairs = np.unique(np.stack([all_frames, all_arcs], axis=1), axis=0)
        return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True)
class _Chains:
    """Chains of epsilon arcs, the empty ones too, sorted by the state in which they begin.

    begin, end: states. chain: as in EpsilonFreeGraph. cost: of the arcs.
    """

    begin: np.ndarray
    end: np.ndarray
    chain: np.ndarray
    cost: np.ndarray

    def rows_from(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return indices into `states`, and for each the row of a chain that begins there."""
        first, end = (np.searchsorted(self.begin, states, side) for side in ("left", "right"))
        return _runs(first, end)


def _runs(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for the ranges first[i] .. end[i] - 1, one after the other, each i and each number in its range."""
    counts = end - first
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) + np.repeat(first - np.cumsum(counts) + counts, counts)


def _chains(graph: SearchGraph, states: np.ndarray) -> tuple[_Chains, np.ndarray, np.ndarray]:
    """Return the chains from `states` whose ends have emitting arcs or are final, and `last_arc` and `previous`."""
    weights, targets = graph.arcs["weight"].astype(np.float64), graph.arcs["next"]
    level = _Chains(states, states, np.full(len(states), NONE, dtype=np.int64), np.zeros(len(states)))
    levels, last_arc, previous, made = [level], [], [], 0
    while len(level.begin):
        which, arcs = _runs(graph.first_epsilon[level.end], graph.offsets[level.end + 1])
        chain = made + np.arange(len(arcs))
        last_arc.append(arcs)
        previous.append(level.chain[which])
        made += len(arcs)
        level = _Chains(level.begin[which], targets[arcs].astype(np.int64), chain, level.cost[which] + weights[arcs])
        levels.append(level)
    begin, end, chain, cost = (
        np.concatenate([getattr(level, name) for level in levels]) for name in ("begin", "end", "chain", "cost")
    )
    useful = (graph.first_epsilon[end] > graph.offsets[end]) | np.isfinite(graph.finals[end])
    rows = np.flatnonzero(useful)
    rows = rows[np.argsort(begin[rows], kind="stable")]
    chains = _Chains(begin[rows], end[rows], chain[rows], cost[rows])
    return chains, np.concatenate(last_arc), np.concatenate(previous)


def without_epsilons(graph: SearchGraph, pdf_of: np.ndarray) -> EpsilonFreeGraph:
    """Return a graph with the same paths for one frame or more.

    Args:
        pdf_of: (transition ids + 1,) int32, the pdf of each transition id.
    """
    emitting = np.flatnonzero(graph.arcs["ilabel"])
    targets = graph.arcs["next"].astype(np.int64)
    sources = np.repeat(np.arange(graph.num_states), np.diff(graph.offsets))
    start = np.array([graph.start])
    chains, last_arc, previous = _chains(graph, np.unique(np.concatenate([targets[emitting], start])))
    used = np.unique(chains.end)  # the new state of an old one is its index in these, plus 1
    final = len(used) + 1
    # the emitting arcs of all states, then those of the start with the chains that lead to them
    arcs = emitting[np.isin(sources[emitting], used)]
    of_start = chains.rows_from(start)[1]
    which, start_arcs = _runs(graph.offsets[chains.end[of_start]], graph.first_epsilon[chains.end[of_start]])
    rows = of_start[which]
    new_sources = np.concatenate([np.searchsorted(used, sources[arcs]) + 1, np.zeros(len(start_arcs), dtype=np.int64)])
    before = np.concatenate([np.full(len(arcs), NONE), chains.chain[rows]])
    before_costs = np.concatenate([np.zeros(len(arcs)), chains.cost[rows]])
    arcs = np.concatenate([arcs, start_arcs])
    # each of them with every chain that goes on from its end
    which, rows = chains.rows_from(targets[arcs])
    costs = before_costs[which] + graph.arcs["weight"][arcs[which]] + chains.cost[rows]
    # and from every final state an arc into the one of the new graph
    ending = np.flatnonzero(np.isfinite(graph.finals[used]))
    none = np.full(len(ending), NONE)
    columns = {
        "sources": (new_sources[which], ending + 1),
        "targets": (np.searchsorted(used, chains.end[rows]) + 1, np.full(len(ending), final)),
        "pdfs": (pdf_of[graph.arcs["ilabel"][arcs[which]]], none),
        "costs": (costs, graph.finals[used[ending]]),
        "arcs": (arcs[which], none),
        "before": (before[which], none),
        "after": (chains.chain[rows], none),
    }
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.lexsort((joined["pdfs"], joined["sources"]))
    types = {"sources": np.int32, "targets": np.int32, "pdfs": np.int32, "costs": np.float32}
    return EpsilonFreeGraph(
        num_states=final + 1,
        last_arc=last_arc,
        previous=previous,
        **{name: column[order].astype(types.get(name, np.int64)) for name, column in joined.items()},
    )
