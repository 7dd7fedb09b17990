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

from asr_parallel.decode.label_strings import BASE, MIX, common_beginning, extended, key_after
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


class Problem(NamedTuple):
    """The task of a determinization.

    backward: (S,) float64 costs of the best path from each state to the end.
    keeps: (S,) bool, states that a subset keeps.
    powers: powers of the base of the strings' keys.
    order: (S,) int32 numbers of the states, by which a heap of states is in order.
    acwt: acoustic scale. limit: cost of the best path plus the beam.
    """

    lattice: LabelledLattice
    backward: np.ndarray
    keeps: np.ndarray
    powers: np.ndarray
    order: np.ndarray
    acwt: float
    beam: float
    limit: float


# The best way to a state that a closure has found so far. present: 0 before and after a closure. string: before the
# last arc. arc: the last one, -1 for none. graph, acoustic: costs
REACHED = np.dtype([("graph", "<f8"), ("acoustic", "<f8"), ("string", "<i4"), ("arc", "<i4"), ("present", "<i8")])


@njit()
def backward_costs(lattice, acwt):
    """Return (S,) float64 costs of the best path from each state to the end, the states that a subset keeps, and more.

    A subset keeps states that are final or have labelled arcs. The last value is the longest path's number of ids.
    """
    costs = lattice.finals[:, 0] + acwt * lattice.finals[:, 1].astype(np.float64)
    keeps = np.isfinite(costs)
    lengths = lattice.final_spans[:, 1] - lattice.final_spans[:, 0]
    for state in range(len(costs) - 1, -1, -1):
        for a in range(lattice.offsets[state], lattice.offsets[state + 1]):
            arc = lattice.arcs[a]
            costs[state] = min(costs[state], arc.graph_cost + acwt * arc.acoustic_cost + costs[arc.next])
            lengths[state] = max(lengths[state], arc.end - arc.begin + lengths[arc.next])
            keeps[state] |= lattice.labels[a] != 0
    return costs, keeps, lengths[0]


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
def normalize(problem, workspace, begin, end, before):
    """Take the costs of the best element out of a subset and return them, and the common beginning of the strings.

    All strings begin with `before`.
    """
    subsets, strings = workspace.subsets, workspace.strings
    least = strings.depth[before]
    best, best_cost = begin, np.inf
    beginning = subsets.string[begin]
    for i in range(begin, end):
        cost = subsets.graph[i] + problem.acwt * subsets.acoustic[i]
        if cost < best_cost:
            best, best_cost = i, cost
        if strings.depth[beginning] > least:
            beginning = common_beginning(strings, beginning, subsets.string[i], least)
    graph, acoustic = subsets.graph[best], subsets.acoustic[best]
    for i in range(begin, end):
        subsets.graph[i] -= graph
        subsets.acoustic[i] -= acoustic
        subsets.key[i] = key_after(strings, problem.powers, subsets.string[i], beginning)
    return graph, acoustic, beginning


@njit()
def best_completion(problem, workspace, begin, end):
    """Return the cost of the best path from a subset to the end."""
    subsets, best = workspace.subsets, np.inf
    for i in range(begin, end):
        cost = subsets.graph[i] + problem.acwt * subsets.acoustic[i]
        best = min(best, cost + problem.backward[subsets.state[i]])
    return best


@njit()
def slot_of(table, subsets, begins, ends, begin, end, acwt):
    """Return the slot of a hash table where the subset [begin, end) stands, or the free one where it belongs."""
    mixed = 0
    for i in range(begin, end):
        mixed = (mixed + subsets.state[i]) * BASE + subsets.key[i] * MIX
    mask = len(table) - 1
    slot = (mixed ^ (mixed >> 32)) & mask
    while table[slot] >= 0:
        other = begins[table[slot]]
        same = ends[table[slot]] - other == end - begin
        i = begin
        while same and i < end:
            j = other + i - begin
            same = subsets.state[i] == subsets.state[j] and subsets.key[i] == subsets.key[j]
            difference = subsets.graph[i] - subsets.graph[j] + acwt * (subsets.acoustic[i] - subsets.acoustic[j])
            same = same and abs(difference) <= DELTA
            i += 1
        if same:
            break
        slot = (slot + 1) & mask
    return slot


@njit()
def drop_hopeless(problem, workspace, begin):
    """Drop the elements from `begin` on that cannot come within the beam of the best path of their subset."""
    subsets, counts = workspace.subsets, workspace.counts
    limit, kept = best_completion(problem, workspace, begin, counts[ELEMENTS]) + problem.beam, begin
    for i in range(begin, counts[ELEMENTS]):
        cost = subsets.graph[i] + problem.acwt * subsets.acoustic[i]
        if cost + problem.backward[subsets.state[i]] <= limit:
            subsets.state[kept], subsets.string[kept] = subsets.state[i], subsets.string[i]
            subsets.graph[kept], subsets.acoustic[kept] = subsets.graph[i], subsets.acoustic[i]
            kept += 1
    counts[ELEMENTS] = kept


@njit()
def close(problem, workspace, reached, heap, begin, end):
    """Follow arcs without labels from a subset, and add the subset of the states that matter. Return its bounds.

    reached: (S,) REACHED. heap: (S,) int32 scratch memory.
    """
    limit = best_completion(problem, workspace, begin, end) + problem.beam
    # arrays one by one, as numba would count references to all arrays of a tuple at every step
    lattice, subsets, strings, counts = problem.lattice, workspace.subsets, workspace.strings, workspace.counts
    offsets, arcs, labels, ids = lattice.offsets, lattice.arcs, lattice.labels, lattice.transition_ids
    backward, keeps, order, acwt = problem.backward, problem.keeps, problem.order, problem.acwt
    states, state_strings, graphs, acoustics = subsets.state, subsets.string, subsets.graph, subsets.acoustic
    first, length = counts[ELEMENTS], 0
    added = first
    for i in range(begin, end):
        place = reached[states[i]]
        place.present, place.arc = 1, -1
        place.string, place.graph, place.acoustic = state_strings[i], graphs[i], acoustics[i]
        heap[length] = states[i]  # in the order of states, which is a heap
        length += 1
    while length:
        state = pop(heap, length, order)
        length -= 1
        here = reached[state]
        here.present = 0
        graph, acoustic, string, a = here.graph, here.acoustic, here.string, here.arc
        if a >= 0:
            string = extended(strings, string, ids, arcs[a].begin, arcs[a].end)
        if keeps[state]:
            if added < len(states):
                states[added], state_strings[added] = state, string
                graphs[added], acoustics[added] = graph, acoustic
            added += 1
        for a in range(offsets[state], offsets[state + 1]):
            if labels[a] != 0:
                continue
            target = arcs[a].next
            to_graph, to_acoustic = graph + arcs[a].graph_cost, acoustic + arcs[a].acoustic_cost
            cost = to_graph + acwt * to_acoustic
            if cost + backward[target] > limit:
                continue
            place = reached[target]
            if not place.present:
                heap[length] = target
                sift_up(heap, length, order)
                length += 1
            elif cost >= place.graph + acwt * place.acoustic:
                continue
            place.present, place.arc = 1, a
            place.string, place.graph, place.acoustic = string, to_graph, to_acoustic
    counts[ELEMENTS] = added
    return first, added
