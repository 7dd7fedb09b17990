"""Pruned determinization of a lattice: the best path for each sequence of labels within a beam.

The arcs of the result are followed in the order of the best path through each, so that a narrower beam makes a part of
what a wider one makes. determinize_subsets.py has the subsets.
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.decode.determinize_subsets import (
    ARCS,
    ELEMENTS,
    QUEUED,
    REACHED,
    STATES,
    Problem,
    add_element,
    backward_costs,
    best_completion,
    close,
    drop_hopeless,
    is_full,
    normalize,
    pop,
    sift_up,
    slot_of,
)  # fmt: skip
from asr_parallel.decode.label_strings import EMPTY, extended, powers_of_base
from asr_parallel.record.compiled import njit


@njit()
def _make_final(problem, workspace, state):
    """Set the final costs and the final string of a new state, when a path may end there within the beam."""
    lattice, subsets, states = problem.lattice, workspace.subsets, workspace.states
    states.final_graph[state] = states.final_acoustic[state] = np.inf
    states.final_string[state] = states.string[state]
    best = problem.limit - states.forward[state]
    for i in range(states.begin[state], states.end[state]):
        s = subsets.state[i]
        graph, acoustic = subsets.graph[i] + lattice.finals[s, 0], subsets.acoustic[i] + lattice.finals[s, 1]
        if graph + problem.acwt * acoustic <= best:
            best = graph + problem.acwt * acoustic
            states.final_graph[state], states.final_acoustic[state] = graph, acoustic
            begin, end = lattice.final_spans[s]
            states.final_string[state] = extended(
                workspace.strings, subsets.string[i], lattice.transition_ids, begin, end
            )


@njit()
def _labelled_arcs(problem, workspace, state):
    """Return the arcs with labels that leave a subset, by label and target, and the element each leaves."""
    lattice, subsets, states = problem.lattice, workspace.subsets, workspace.states
    first, end = states.begin[state], states.end[state]
    found = 0
    for i in range(first, end):
        s = subsets.state[i]
        found += lattice.offsets[s + 1] - lattice.offsets[s]
    keys, elements, through = np.empty(found, np.int64), np.empty(found, np.int32), np.empty(found, np.int32)
    found, num_states = 0, len(lattice.finals)
    for i in range(first, end):
        s = subsets.state[i]
        for a in range(lattice.offsets[s], lattice.offsets[s + 1]):
            if lattice.labels[a] != 0:
                keys[found] = lattice.labels[a] * num_states + lattice.arcs[a].next
                elements[found], through[found] = i, a
                found += 1
    order = np.argsort(keys[:found], kind="mergesort")
    return elements[order], through[order]


@njit()
def _queue_arcs(problem, workspace, state):
    """Make the arcs of a new state, one for each label, and queue them."""
    lattice, acwt = problem.lattice, problem.acwt
    subsets, states, arcs, counts = workspace.subsets, workspace.states, workspace.arcs, workspace.counts
    elements, through = _labelled_arcs(problem, workspace, state)
    at, found = 0, len(through)
    while at < found:
        label, begin = lattice.labels[through[at]], counts[ELEMENTS]
        while at < found and lattice.labels[through[at]] == label:
            target, best, best_cost = lattice.arcs[through[at]].next, at, np.inf
            while at < found and lattice.labels[through[at]] == label and lattice.arcs[through[at]].next == target:
                i, step = elements[at], lattice.arcs[through[at]]
                cost = subsets.graph[i] + step.graph_cost + acwt * (subsets.acoustic[i] + step.acoustic_cost)
                if cost < best_cost:
                    best, best_cost = at, cost
                at += 1
            i, step = elements[best], lattice.arcs[through[best]]
            string = extended(workspace.strings, subsets.string[i], lattice.transition_ids, step.begin, step.end)
            costs = subsets.graph[i] + step.graph_cost, subsets.acoustic[i] + step.acoustic_cost
            add_element(workspace, target, string, costs[0], costs[1])
        if is_full(workspace):
            return
        priority = states.forward[state] + best_completion(problem, workspace, begin, counts[ELEMENTS])
        if priority > problem.limit:
            counts[ELEMENTS] = begin
            continue
        drop_hopeless(problem, workspace, begin)
        arc, queued = counts[ARCS], counts[QUEUED]
        counts[ARCS] += 1
        if arc >= len(arcs.source):
            return
        arcs.source[arc], arcs.target[arc], arcs.label[arc], arcs.priority[arc] = state, -1, label, priority
        arcs.begin[arc], arcs.end[arc] = begin, counts[ELEMENTS]
        arcs.graph[arc], arcs.acoustic[arc], arcs.string[arc] = normalize(
            problem, workspace, begin, counts[ELEMENTS], states.string[state]
        )
        workspace.queue[queued] = arc
        counts[QUEUED] += 1
        sift_up(workspace.queue, queued, arcs.priority)


@njit()
def _add_state(problem, workspace, begin, end, string, forward):
    """Add a state for the subset [begin, end) with its final costs, and queue its arcs."""
    states, counts = workspace.states, workspace.counts
    state = counts[STATES]
    counts[STATES] += 1
    if state < len(states.begin):
        states.begin[state], states.end[state] = begin, end
        states.string[state], states.forward[state] = string, forward
        _make_final(problem, workspace, state)
        _queue_arcs(problem, workspace, state)


@njit()
def _follow(problem, workspace, reached, heap, arc):
    """Give an arc its target: the state that stands for its subset after arcs without labels."""
    states, arcs, counts, acwt = workspace.states, workspace.arcs, workspace.counts, problem.acwt
    begin, end = close(problem, workspace, reached, heap, arcs.begin[arc], arcs.end[arc])
    if is_full(workspace):
        return
    graph, acoustic, string = normalize(problem, workspace, begin, end, arcs.string[arc])
    arcs.more_graph[arc], arcs.more_acoustic[arc], arcs.more_string[arc] = graph, acoustic, string
    slot = slot_of(workspace.state_table, workspace.subsets, states.begin, states.end, begin, end, acwt)
    arcs.target[arc] = workspace.state_table[slot]
    if arcs.target[arc] >= 0:
        counts[ELEMENTS] = begin
        return
    arcs.target[arc] = workspace.state_table[slot] = counts[STATES]
    forward = states.forward[arcs.source[arc]] + arcs.graph[arc] + graph + acwt * (arcs.acoustic[arc] + acoustic)
    _add_state(problem, workspace, begin, end, string, forward)


@njit()
def determinize(lattice, workspace, acwt, beam):
    """Make the deterministic lattice in workspace.states and workspace.arcs, of the arcs that have a target.

    Costs are compared as graph + acwt * acoustic; those that differ by less than DELTA are the same. The result has the
    best path for each sequence of labels whose cost is within the beam of the best path's, and a few others. States are
    in no particular order, the first one is the start.

    Returns:
        Whether there was room for all of it.
    """
    arcs, counts = workspace.arcs, workspace.counts
    workspace.strings.used[0] = 1
    counts[:] = 0
    workspace.state_table[:] = -1
    workspace.arc_table[:] = -1
    backward, keeps, longest = backward_costs(lattice, acwt)
    num_states = len(backward)
    order = np.arange(num_states).astype(np.int32)
    problem = Problem(lattice, backward, keeps, powers_of_base(longest), order, acwt, beam, backward[0] + beam)
    reached, heap = np.zeros(num_states, REACHED), np.empty(num_states, np.int32)
    add_element(workspace, np.int32(0), np.int64(EMPTY), 0.0, 0.0)
    begin, end = close(problem, workspace, reached, heap, np.int32(0), np.int32(1))
    # the start is not normalized: no arc leads to it that could take the costs
    if not is_full(workspace):
        _add_state(problem, workspace, begin, end, np.int32(EMPTY), 0.0)
    while counts[QUEUED] and not is_full(workspace):
        arc = pop(workspace.queue, counts[QUEUED], arcs.priority)
        counts[QUEUED] -= 1
        slot = slot_of(
            workspace.arc_table, workspace.subsets, arcs.begin, arcs.end, arcs.begin[arc], arcs.end[arc], acwt
        )
        arcs.same[arc] = workspace.arc_table[slot]
        if arcs.same[arc] < 0:
            workspace.arc_table[slot] = arcs.same[arc] = arc
            _follow(problem, workspace, reached, heap, arc)
        arcs.target[arc] = arcs.target[arcs.same[arc]]
    return not is_full(workspace)
