"""The n best different word sequences of a lattice.

A state-level lattice holds each word sequence with very many alignments, so that its n best paths usually have the same
words. Therefore the search is over word sequences: a prefix represents all lattice states that it can reach, with the
best cost of each, and the prefix with the cheapest completion is extended next. Completion costs are exact, so the
sequences are found in order and hardly any others are expanded (A*; Hart, Nilsson and Raphael 1968).
"""

# mypy: disable-error-code="no-untyped-def"
import heapq

import numpy as np

from asr_parallel.decode.compact_lattice import CompactLattice
from asr_parallel.decode.search_arrays import ensure_capacity
from asr_parallel.record.compiled import njit


@njit()
def _completion_costs(offsets, targets, costs, finals):
    """Return (S,) costs of the best path from each state to the end."""
    best = finals.copy()
    for state in range(len(finals) - 1, -1, -1):
        for a in range(offsets[state], offsets[state + 1]):
            best[state] = min(best[state], costs[a] + best[targets[a]])
    return best


@njit()
def _extend(offsets, targets, words, costs, finals, states, reached, scratch):
    """Follow a prefix, at `states` with costs `reached`, through arcs without words up to the next words.

    Returns the arcs with those words, the cost up to and including each, and the cost of ending here. `scratch` is
    (S,) and infinite before and after.
    """
    highest = 0
    lowest = len(finals)
    for i in range(len(states)):
        scratch[states[i]] = min(scratch[states[i]], reached[i])
        lowest = min(lowest, states[i])
        highest = max(highest, states[i])
    found = np.empty(64, np.int64)
    found_costs = np.empty(64, np.float64)
    num_found = 0
    ending = np.inf
    state = lowest
    while state <= highest:
        cost = scratch[state]
        if cost < np.inf:
            scratch[state] = np.inf
            ending = min(ending, cost + finals[state])
            for a in range(offsets[state], offsets[state + 1]):
                if words[a] == 0:
                    scratch[targets[a]] = min(scratch[targets[a]], cost + costs[a])
                    highest = max(highest, targets[a])
                else:
                    if num_found == len(found):
                        found = ensure_capacity(found, num_found + 1)
                        found_costs = ensure_capacity(found_costs, num_found + 1)
                    found[num_found] = a
                    found_costs[num_found] = cost + costs[a]
                    num_found += 1
        state += 1
    return found[:num_found], found_costs[:num_found], ending


def n_best(lattice: CompactLattice, n: int, lmwt: float, wip: float = 0.0) -> list[tuple[float, list[int]]]:
    """Return up to `n` (cost, word ids) pairs, the best first.

    The cost is graph_cost + acoustic_cost / lmwt + wip * words (see decode/lattice.py).

    Raises:
        ValueError: the lattice is not in topological order, or has no final state.
    """
    lattice.check_order()
    arcs = lattice.arcs
    words, targets = np.ascontiguousarray(arcs["olabel"]), np.ascontiguousarray(arcs["next"])
    costs = arcs["graph_cost"].astype(np.float64) + arcs["acoustic_cost"] / lmwt + wip * (words != 0)
    finals = lattice.finals[:, 0].astype(np.float64) + lattice.finals[:, 1] / lmwt
    completion = _completion_costs(lattice.offsets, targets, costs, finals)
    scratch = np.full(lattice.num_states, np.inf)

    result: list[tuple[float, list[int]]] = []
    # (cost of the best completion, words, whether the sequence ends here, states, their costs); the words differ
    # between entries of one kind, so that arrays are never compared
    start = np.array([0], dtype=np.int32)
    queue: list[tuple[float, tuple[int, ...], bool, np.ndarray, np.ndarray]] = []
    heapq.heappush(queue, (float(completion[0]), (), False, start, np.zeros(1)))
    while queue and len(result) < n:
        total, prefix, complete, states, reached = heapq.heappop(queue)
        if complete:
            result.append((total, list(prefix)))
            continue
        found, found_costs, ending = _extend(lattice.offsets, targets, words, costs, finals, states, reached, scratch)
        if np.isfinite(ending):
            heapq.heappush(queue, (ending, prefix, True, states, reached))
        order = np.argsort(words[found], kind="stable")
        found, found_costs = found[order], found_costs[order]
        for stretch in np.split(np.arange(len(found)), np.flatnonzero(np.diff(words[found])) + 1):
            if len(stretch):
                after = targets[found[stretch]]
                best = float((found_costs[stretch] + completion[after]).min())
                word = int(words[found[stretch[0]]])
                heapq.heappush(queue, (best, (*prefix, word), False, after, found_costs[stretch]))
    return result
