"""Sort a lattice's states, as Kaldi's programs do when they read one (lat/lattice-functions.h, TopSortLatticeIfNeeded).

Its decoders write compact lattices in the order in which determinization has found the states.
"""

# mypy: disable-error-code="no-untyped-def"
from dataclasses import replace

import numpy as np

from asr_parallel.decode.compact_lattice import CompactLattice
from asr_parallel.record.compiled import njit


@njit()
def sorted_states(offsets, targets):
    """Return the states in topological order, state 0 first; fewer than there are where arcs form a cycle."""
    num_states = len(offsets) - 1
    entering = np.zeros(num_states, np.int64)
    for target in targets:
        entering[target] += 1
    order, length, done = np.zeros(num_states, np.int64), 0, 0
    for state in range(num_states):
        if entering[state] == 0:
            order[length] = state
            length += 1
    while done < length:
        state = order[done]
        done += 1
        for a in range(offsets[state], offsets[state + 1]):
            entering[targets[a]] -= 1
            if entering[targets[a]] == 0:
                order[length] = targets[a]
                length += 1
    return order[:length]


def in_topological_order(lattice: CompactLattice) -> CompactLattice:
    """Return the lattice with its states in topological order, itself where they are.

    Raises:
        ValueError: its arcs form a cycle, or one leads to state 0, where it starts.
    """
    if lattice.in_order:
        return lattice
    counts, targets = np.diff(lattice.offsets), lattice.arcs["next"]
    order = sorted_states(lattice.offsets, np.ascontiguousarray(targets))
    if len(order) < lattice.num_states or order[0] != 0:
        raise ValueError("the lattice has a cycle, or an arc to its first state")
    position = np.argsort(order).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts[order])])
    # each state's arcs, in the states' new order
    moved = np.repeat(lattice.offsets[order] - offsets[:-1], counts[order]) + np.arange(len(targets))
    arcs = lattice.arcs[moved]
    arcs["next"] = position[arcs["next"]]
    return replace(
        lattice, finals=lattice.finals[order], final_spans=lattice.final_spans[order], offsets=offsets, arcs=arcs
    )
