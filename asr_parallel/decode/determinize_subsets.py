"""Subset construction over a lattice whose arcs carry labels, costs and strings; pruned, the best paths first.

The algorithm of Povey et al., "Generating exact lattices in the WFST framework" (ICASSP 2012), as Kaldi's
lat/determinize-lattice-pruned.cc has it. A state of the result stands for a subset: all lattice states that the same
labels lead to, each with what its best path costs more than the best of them, and the string that it has after their
common beginning. Arcs of the result are followed in the order of the best path through them, up to the beam.

Unlike Kaldi's, an element that cannot come within the beam of its subset's best path is dropped at once.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np

from asr_parallel.decode.label_strings import EMPTY, common_prefix, extended, joined
from asr_parallel.record.compiled import njit

DELTA = 2.0**-10  # costs that differ less are equal: Kaldi's kDelta (base/kaldi-math.h)
ELEMENTS, ARCS, STATES, QUEUED = 0, 1, 2, 3  # places in Workspace.counts


class LabelledLattice(NamedTuple):
    """A CompactLattice of S states and A arcs whose labels are (A,) int64 `labels`, 0 for none, not words."""

    finals: np.ndarray
    final_spans: np.ndarray
    offsets: np.ndarray
    arcs: np.ndarray
    labels: np.ndarray
    transition_ids: np.ndarray


class Reached(NamedTuple):
    """Scratch memory of a closure, (S,) each: the best way to a state so far.

    present: bool, False before and after. string: int32, before the arc. arc: int32, the last one, -1 for none. graph,
    acoustic: float64. heap: int32, states to go on from. order: int32, the numbers of the states.
    """

    present: np.ndarray
    string: np.ndarray
    arc: np.ndarray
    graph: np.ndarray
    acoustic: np.ndarray
    heap: np.ndarray
    order: np.ndarray


@njit()
def backward_costs(lattice, acwt):
    """Return (S,) float64 costs of the best path from each state to the end, and which states a subset keeps.

    Those are the states that are final or have labelled arcs.
    """
    costs = lattice.finals[:, 0] + acwt * lattice.finals[:, 1].astype(np.float64)
    keeps = np.isfinite(costs)
    for state in range(len(costs) - 1, -1, -1):
        for a in range(lattice.offsets[state], lattice.offsets[state + 1]):
            cost = lattice.arcs[a].graph_cost + acwt * lattice.arcs[a].acoustic_cost + costs[lattice.arcs[a].next]
            costs[state] = min(costs[state], cost)
            keeps[state] |= lattice.labels[a] != 0
    return costs, keeps


@njit()
def with_ids(strings, string, ids, begin, end):
    """Return the string followed by ids[begin:end]."""
    for i in range(begin, end):
        string = extended(strings, string, ids[i])
    return string


@njit()
def is_full(workspace):
    """Return whether something found no room."""
    counts = workspace.counts
    return (
        counts[ELEMENTS] > len(workspace.subsets.state)
        or counts[ARCS] > len(workspace.arcs.source)
        or counts[STATES] > len(workspace.states.begin)
        or workspace.strings.used[0] > len(workspace.strings.parent)
    )


@njit()
def add_element(workspace, state, string, graph, acoustic):
    i = workspace.counts[ELEMENTS]
    workspace.counts[ELEMENTS] += 1
    subsets = workspace.subsets
    if i < len(subsets.state):
        subsets.state[i], subsets.string[i], subsets.graph[i], subsets.acoustic[i] = state, string, graph, acoustic


@njit()
def sift_up(heap, position, keys):
    """Restore a heap, the least key first, after a change at its end."""
    item = heap[position]
    while position > 0:
        above = (position - 1) // 2
        if keys[heap[above]] <= keys[item]:
            break
        heap[position] = heap[above]
        position = above
    heap[position] = item


@njit()
def pop(heap, length, keys):
    """Remove and return the item with the least key from a heap of `length` items."""
    least, item = heap[0], heap[length - 1]
    length -= 1
    position = 0
    while True:
        below = 2 * position + 1
        if below >= length:
            break
        if below + 1 < length and keys[heap[below + 1]] < keys[heap[below]]:
            below += 1
        if keys[item] <= keys[heap[below]]:
            break
        heap[position] = heap[below]
        position = below
    heap[position] = item
    return least


@njit()
def normalize(workspace, begin, end, acwt):
    """Take the cost of the best element and the common beginning of the strings out of a subset, and return them."""
    subsets, strings = workspace.subsets, workspace.strings
    best, best_cost = begin, np.inf
    prefix = subsets.string[begin]
    for i in range(begin, end):
        cost = subsets.graph[i] + acwt * subsets.acoustic[i]
        if cost < best_cost:
            best, best_cost = i, cost
        if prefix != subsets.string[i]:
            prefix = common_prefix(strings, prefix, subsets.string[i])
    graph, acoustic = subsets.graph[best], subsets.acoustic[best]
    for i in range(begin, end):
        subsets.graph[i] -= graph
        subsets.acoustic[i] -= acoustic
        if prefix != EMPTY:
            subsets.string[i] = joined(strings, EMPTY, subsets.string[i], strings.depth[prefix])
    return graph, acoustic, prefix


@njit()
def best_completion(workspace, begin, end, acwt, backward):
    """Return the cost of the best path from a subset to the end."""
    subsets, best = workspace.subsets, np.inf
    for i in range(begin, end):
        best = min(best, subsets.graph[i] + acwt * subsets.acoustic[i] + backward[subsets.state[i]])
    return best


@njit()
def slot_of(table, subsets, begins, ends, begin, end, acwt):
    """Return the slot of a hash table where the subset [begin, end) stands, or the free one where it belongs."""
    mixed = 0
    for i in range(begin, end):
        mixed = ((mixed + subsets.state[i]) * 0x9E3779B1 + subsets.string[i] * 0x85EBCA77) & 0xFFFFFFFFFFFF
    mask = len(table) - 1
    slot = (mixed ^ (mixed >> 15)) & mask
    while table[slot] >= 0:
        other = begins[table[slot]]
        same = ends[table[slot]] - other == end - begin
        i = begin
        while same and i < end:
            j = other + i - begin
            same = subsets.state[i] == subsets.state[j] and subsets.string[i] == subsets.string[j]
            difference = subsets.graph[i] - subsets.graph[j] + acwt * (subsets.acoustic[i] - subsets.acoustic[j])
            same = same and abs(difference) <= DELTA
            i += 1
        if same:
            break
        slot = (slot + 1) & mask
    return slot


@njit()
def drop_hopeless(workspace, begin, acwt, beam, backward):
    """Drop the elements from `begin` on that cannot come within the beam of the best path of their subset."""
    subsets, counts = workspace.subsets, workspace.counts
    limit, kept = best_completion(workspace, begin, counts[ELEMENTS], acwt, backward) + beam, begin
    for i in range(begin, counts[ELEMENTS]):
        if subsets.graph[i] + acwt * subsets.acoustic[i] + backward[subsets.state[i]] <= limit:
            subsets.state[kept], subsets.string[kept] = subsets.state[i], subsets.string[i]
            subsets.graph[kept], subsets.acoustic[kept] = subsets.graph[i], subsets.acoustic[i]
            kept += 1
    counts[ELEMENTS] = kept


@njit()
def close(lattice, workspace, reached, begin, end, acwt, beam, backward, keeps):
    """Follow arcs without labels from a subset, and add the subset of the states that matter. Return its bounds."""
    subsets, strings = workspace.subsets, workspace.strings
    first, length = workspace.counts[ELEMENTS], 0
    limit = best_completion(workspace, begin, end, acwt, backward) + beam
    for i in range(begin, end):
        state = subsets.state[i]
        reached.present[state] = True
        reached.string[state], reached.arc[state] = subsets.string[i], -1
        reached.graph[state], reached.acoustic[state] = subsets.graph[i], subsets.acoustic[i]
        reached.heap[length] = state  # in the order of states, which is a heap
        length += 1
    while length:
        state = pop(reached.heap, length, reached.order)
        length -= 1
        reached.present[state] = False
        graph, acoustic = reached.graph[state], reached.acoustic[state]
        cost = graph + acwt * acoustic
        if cost + backward[state] > limit:
            continue
        string, a = reached.string[state], reached.arc[state]
        if a >= 0:
            string = with_ids(strings, string, lattice.transition_ids, lattice.arcs[a].begin, lattice.arcs[a].end)
        if keeps[state]:
            add_element(workspace, state, string, graph, acoustic)
        for a in range(lattice.offsets[state], lattice.offsets[state + 1]):
            if lattice.labels[a] != 0:
                continue
            target = lattice.arcs[a].next
            to_graph, to_acoustic = graph + lattice.arcs[a].graph_cost, acoustic + lattice.arcs[a].acoustic_cost
            if not reached.present[target]:
                reached.present[target] = True
                reached.heap[length] = target
                sift_up(reached.heap, length, reached.order)
                length += 1
            elif to_graph + acwt * to_acoustic >= reached.graph[target] + acwt * reached.acoustic[target]:
                continue
            reached.string[target], reached.arc[target] = string, a
            reached.graph[target], reached.acoustic[target] = to_graph, to_acoustic
    return first, workspace.counts[ELEMENTS]
