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
    STATES,
    Reached,
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
    with_ids,
)
from asr_parallel.decode.label_strings import EMPTY, forget_strings, joined
from asr_parallel.record.compiled import njit


@njit()
def _make_final(lattice, workspace, state, acwt, limit):
    """Set the final costs and the final string of a new state, when a path may end there within the limit."""
    subsets, strings, states = workspace.subsets, workspace.strings, workspace.states
    states.final_graph[state] = states.final_acoustic[state] = np.inf
    states.final_string[state] = EMPTY
    best = limit - states.forward[state]
    for i in range(states.begin[state], states.end[state]):
        s = subsets.state[i]
        graph, acoustic = subsets.graph[i] + lattice.finals[s, 0], subsets.acoustic[i] + lattice.finals[s, 1]
        if graph + acwt * acoustic <= best:
            best = graph + acwt * acoustic
            states.final_graph[state], states.final_acoustic[state] = graph, acoustic
            states.final_string[state] = with_ids(
                strings, subsets.string[i], lattice.transition_ids, lattice.final_spans[s, 0], lattice.final_spans[s, 1]
            )


@njit()
def _queue_arcs(lattice, workspace, state, acwt, beam, limit, backward):
    """Make the arcs of a new state, one for each label, and queue them."""
    subsets, strings, states, arcs = workspace.subsets, workspace.strings, workspace.states, workspace.arcs
    num_states, found = len(backward), 0
    first, end = states.begin[state], states.end[state]
    for i in range(first, end):
        s = subsets.state[i]
        found += lattice.offsets[s + 1] - lattice.offsets[s]
    keys, sources, through = np.empty(found, np.int64), np.empty(found, np.int32), np.empty(found, np.int32)
    found = 0
    for i in range(first, end):
        s = subsets.state[i]
        for a in range(lattice.offsets[s], lattice.offsets[s + 1]):
            if lattice.labels[a] != 0:
                keys[found] = lattice.labels[a] * num_states + lattice.arcs[a].next
                sources[found], through[found] = i, a
                found += 1
    order = np.argsort(keys[:found], kind="mergesort")
    at = 0
    while at < found:
        label = lattice.labels[through[order[at]]]
        begin = workspace.counts[ELEMENTS]
        while at < found and lattice.labels[through[order[at]]] == label:
            key, best, best_cost = keys[order[at]], order[at], np.inf
            while at < found and keys[order[at]] == key:
                i, a = sources[order[at]], through[order[at]]
                graph = subsets.graph[i] + lattice.arcs[a].graph_cost
                cost = graph + acwt * (subsets.acoustic[i] + lattice.arcs[a].acoustic_cost)
                if cost < best_cost:
                    best, best_cost = order[at], cost
                at += 1
            i, step = sources[best], lattice.arcs[through[best]]
            add_element(
                workspace,
                step.next,
                with_ids(strings, subsets.string[i], lattice.transition_ids, step.begin, step.end),
                subsets.graph[i] + step.graph_cost,
                subsets.acoustic[i] + step.acoustic_cost,
            )
        if is_full(workspace):
            return
        priority = states.forward[state] + best_completion(workspace, begin, workspace.counts[ELEMENTS], acwt, backward)
        if priority > limit:
            workspace.counts[ELEMENTS] = begin
            continue
        drop_hopeless(workspace, begin, acwt, beam, backward)
        arc = workspace.counts[ARCS]
        workspace.counts[ARCS] += 1
        if arc >= len(arcs.source):
            return
        arcs.begin[arc], arcs.end[arc] = begin, workspace.counts[ELEMENTS]
        graph, acoustic, prefix = normalize(workspace, begin, workspace.counts[ELEMENTS], acwt)
        arcs.source[arc], arcs.target[arc], arcs.label[arc], arcs.string[arc] = state, -1, label, prefix
        arcs.graph[arc], arcs.acoustic[arc], arcs.priority[arc] = graph, acoustic, priority
        queued = workspace.counts[QUEUED]
        workspace.queue[queued] = arc
        workspace.counts[QUEUED] += 1
        sift_up(workspace.queue, queued, arcs.priority)


@njit()
def _add_state(lattice, workspace, begin, end, acwt, beam, limit, backward, forward):
    """Add a state for the subset [begin, end) with its final costs, and queue its arcs. Return the state."""
    states, counts = workspace.states, workspace.counts
    state = counts[STATES]
    counts[STATES] += 1
    if state < len(states.begin):
        states.begin[state], states.end[state], states.forward[state] = begin, end, forward
        _make_final(lattice, workspace, state, acwt, limit)
        _queue_arcs(lattice, workspace, state, acwt, beam, limit, backward)
    return state


@njit()
def _follow(lattice, workspace, reached, arc, acwt, beam, limit, backward, keeps):
    """Give an arc its target: the state that stands for its subset after arcs without labels."""
    subsets, states, arcs, counts = workspace.subsets, workspace.states, workspace.arcs, workspace.counts
    begin, end = close(lattice, workspace, reached, arcs.begin[arc], arcs.end[arc], acwt, beam, backward, keeps)
    if is_full(workspace):
        return
    graph, acoustic, prefix = normalize(workspace, begin, end, acwt)
    arcs.more_graph[arc], arcs.more_acoustic[arc], arcs.more_string[arc] = graph, acoustic, prefix
    slot = slot_of(workspace.state_table, subsets, states.begin, states.end, begin, end, acwt)
    arcs.target[arc] = workspace.state_table[slot]
    if arcs.target[arc] >= 0:
        counts[ELEMENTS] = begin
        return
    arcs.target[arc] = workspace.state_table[slot] = counts[STATES]
    cost = arcs.graph[arc] + graph + acwt * (arcs.acoustic[arc] + acoustic)
    _add_state(lattice, workspace, begin, end, acwt, beam, limit, backward, states.forward[arcs.source[arc]] + cost)


@njit()
def determinize(lattice, workspace, acwt, beam):
    """Make the deterministic lattice in workspace.states and workspace.arcs, of the arcs that have a target.

    Costs are compared as graph + acwt * acoustic. The result has the best path for each sequence of labels whose cost
    is within the beam of the best path's; states are in no particular order, the first one is the start.

    Returns:
        Whether there was room for all of it.
    """
    subsets, arcs, counts = workspace.subsets, workspace.arcs, workspace.counts
    forget_strings(workspace.strings)
    counts[:] = 0
    workspace.state_table[:] = -1
    workspace.arc_table[:] = -1
    backward, keeps = backward_costs(lattice, acwt)
    num_states = len(backward)
    reached = Reached(
        np.zeros(num_states, np.bool_),
        np.zeros(num_states, np.int32),
        np.zeros(num_states, np.int32),
        np.zeros(num_states, np.float64),
        np.zeros(num_states, np.float64),
        np.zeros(num_states, np.int32),
        np.arange(num_states).astype(np.int32),
    )
    limit = backward[0] + beam
    add_element(workspace, 0, EMPTY, 0.0, 0.0)
    begin, end = close(lattice, workspace, reached, np.int32(0), np.int32(1), acwt, beam, backward, keeps)
    # the start is not normalized: no arc leads to it that could take the cost
    if not is_full(workspace):
        _add_state(lattice, workspace, begin, end, acwt, beam, limit, backward, 0.0)
    while counts[QUEUED] and not is_full(workspace):
        arc = pop(workspace.queue, counts[QUEUED], arcs.priority)
        counts[QUEUED] -= 1
        slot = slot_of(workspace.arc_table, subsets, arcs.begin, arcs.end, arcs.begin[arc], arcs.end[arc], acwt)
        same = workspace.arc_table[slot]
        if same < 0:
            workspace.arc_table[slot] = same = arc
            _follow(lattice, workspace, reached, arc, acwt, beam, limit, backward, keeps)
        arcs.target[arc] = arcs.target[same]
        arcs.graph[arc] += arcs.more_graph[same]
        arcs.acoustic[arc] += arcs.more_acoustic[same]
        arcs.string[arc] = joined(workspace.strings, arcs.string[arc], arcs.more_string[same], 0)
    return not is_full(workspace)
