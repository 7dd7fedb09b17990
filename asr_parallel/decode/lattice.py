"""Best paths through a lattice, for many weightings of language model, acoustics and words at once.

The cost of a path is graph_cost + acoustic_cost / LMWT + WIP * words, as Kaldi's scoring scripts have it:
lattice-scale --inv-acoustic-scale=LMWT, lattice-add-penalty --word-ins-penalty=WIP, lattice-best-path.
"""

# mypy: disable-error-code="no-untyped-def"
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_parallel.decode.compact_lattice import CompactLattice
from asr_parallel.record.compiled import njit


@dataclass(frozen=True)
class BestPath:
    """The best path under one weighting.

    transition_ids: (T,) int32, one a frame.
    words: word ids in order.
    word_frames: for each word the first frame of its arc on the path. Graph optimisation and determinization move
        labels, so this is not the time of the word.
    graph_cost, acoustic_cost: unscaled sums over the path.
    """

    transition_ids: np.ndarray
    words: list[int]
    word_frames: list[int]
    graph_cost: float
    acoustic_cost: float


@njit()
def _best_paths(offsets, arcs, finals, acoustic_scales, word_penalties):
    """Return the arc indices of the best path for each of K weightings, (K, longest) padded with -1, and its end."""
    num_states, num_weightings = len(finals), len(acoustic_scales)
    costs = np.full((num_states, num_weightings), np.inf)
    back_arc = np.full((num_states, num_weightings), -1, np.int32)
    back_state = np.full((num_states, num_weightings), -1, np.int32)
    for k in range(num_weightings):
        costs[0, k] = 0.0
    for state in range(num_states):
        for a in range(offsets[state], offsets[state + 1]):
            target = arcs[a].next
            for k in range(num_weightings):
                cost = costs[state, k] + arcs[a].graph_cost + acoustic_scales[k] * arcs[a].acoustic_cost
                if arcs[a].olabel != 0:
                    cost += word_penalties[k]
                if cost < costs[target, k]:
                    costs[target, k] = cost
                    back_arc[target, k] = a
                    back_state[target, k] = state
    last = np.zeros(num_weightings, np.int32)
    lengths = np.zeros(num_weightings, np.int64)
    longest = 0
    for k in range(num_weightings):
        best = np.inf
        for state in range(num_states):
            cost = costs[state, k] + finals[state, 0] + acoustic_scales[k] * finals[state, 1]
            if cost < best:
                best = cost
                last[k] = state
        state = last[k]
        while back_arc[state, k] >= 0:
            lengths[k] += 1
            state = back_state[state, k]
        longest = max(longest, lengths[k])
    paths = np.full((num_weightings, longest), -1, np.int32)
    for k in range(num_weightings):
        state = last[k]
        for i in range(lengths[k] - 1, -1, -1):
            paths[k, i] = back_arc[state, k]
            state = back_state[state, k]
    return paths, last


def best_paths(lattice: CompactLattice, weightings: Sequence[tuple[float, float]]) -> list[BestPath]:
    """Return the best path of `lattice` under each (LMWT, WIP) of `weightings`; equal paths are one object.

    Raises:
        ValueError: the states are not in topological order, or no path reaches a final state.
    """
    lattice.check_order()
    scales = np.array([1.0 / lmwt for lmwt, _ in weightings])
    penalties = np.array([float(wip) for _, wip in weightings])
    paths, last = _best_paths(lattice.offsets, lattice.arcs, lattice.finals, scales, penalties)
    if not np.isfinite(lattice.finals[last, 0]).all():
        raise ValueError("no path through the lattice reaches a final state")
    distinct: dict[bytes, BestPath] = {}
    result = []
    for path, state in zip(paths, last, strict=True):
        key = path.tobytes() + state.tobytes()
        if key not in distinct:
            distinct[key] = _best_path(lattice, path[path >= 0], int(state))
        result.append(distinct[key])
    return result


def _best_path(lattice: CompactLattice, path: np.ndarray, last: int) -> BestPath:
    arcs = lattice.arcs[path]
    lengths = arcs["end"] - arcs["begin"]
    frames_before = np.cumsum(lengths) - lengths
    labelled = arcs["olabel"] != 0
    spans = [*zip(arcs["begin"].tolist(), arcs["end"].tolist(), strict=True), lattice.final_spans[last]]
    return BestPath(
        transition_ids=np.concatenate([lattice.transition_ids[begin:end] for begin, end in spans]),
        words=arcs["olabel"][labelled].tolist(),
        word_frames=frames_before[labelled].tolist(),
        graph_cost=float(arcs["graph_cost"].sum(dtype=np.float64) + lattice.finals[last, 0]),
        acoustic_cost=float(arcs["acoustic_cost"].sum(dtype=np.float64) + lattice.finals[last, 1]),
    )
