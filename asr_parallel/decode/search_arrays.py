"""Arrays of the search: what it needs of graph states, and the growing arrays of tokens and links.

decode/lattice_pruning.py describes tokens and links.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np

from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.record.compiled import njit

# token: of the current frame in this state, -1 for none (scratch memory, -1 before and after a search). begin: its
# first arc. epsilon: its first arc without ilabel. end: where its arcs end
STATE = np.dtype([("token", "<i4"), ("begin", "<i4"), ("epsilon", "<i4"), ("end", "<i4")])

FIRST_CAPACITY = 1 << 16  # entries of the arrays of tokens and links, which grow when full


def search_states(graph: SearchGraph) -> np.ndarray:
    """Return (S,) STATE of a graph."""
    if len(graph.arcs) > np.iinfo(np.int32).max:
        raise ValueError(f"the graph has {len(graph.arcs)} arcs, more than 32-bit numbers can count")
    states = np.empty(graph.num_states, STATE)
    states["token"] = -1
    states["begin"], states["end"] = graph.offsets[:-1], graph.offsets[1:]
    states["epsilon"] = graph.first_epsilon
    return states


class Tokens(NamedTuple):
    """Arrays of tokens, one for each field, as most passes over tokens need one or two of them.

    state: (N,) int32 graph state. cost: (N,) float64 of the best path to it. extra: (N,) float64 extra cost.
    """

    state: np.ndarray
    cost: np.ndarray
    extra: np.ndarray


class Links(NamedTuple):
    """Arrays of links, one for each field: of most links only the target is ever read.

    cost: (L,) float64 of the best path that ends with the link. source, target: (L,) int32 tokens. arc: (L,) int32
    index in the graph, which has the labels and the weight.
    """

    cost: np.ndarray
    source: np.ndarray
    target: np.ndarray
    arc: np.ndarray


def new_tokens() -> Tokens:
    """Return arrays of tokens for searches to grow."""
    return Tokens(np.empty(FIRST_CAPACITY, np.int32), *np.empty((2, FIRST_CAPACITY)))


def new_links() -> Links:
    """Return arrays of links for searches to grow."""
    return Links(np.empty(FIRST_CAPACITY), *np.empty((3, FIRST_CAPACITY), np.int32))


@njit()
def ensure_capacity(array, needed):
    """Return `array`, or a copy twice as long if it has fewer than `needed` entries."""
    if needed <= len(array):
        return array
    longer = np.empty(max(needed, 2 * len(array)), array.dtype)
    for i in range(len(array)):  # assigning a slice would take seconds more to compile
        longer[i] = array[i]
    return longer


@njit()
def ensure_tokens(tokens, needed):
    """Return tokens with room for at least `needed`."""
    return Tokens(
        ensure_capacity(tokens.state, needed),
        ensure_capacity(tokens.cost, needed),
        ensure_capacity(tokens.extra, needed),
    )


@njit()
def ensure_links(links, needed):
    """Return links with room for at least `needed`."""
    return Links(
        ensure_capacity(links.cost, needed),
        ensure_capacity(links.source, needed),
        ensure_capacity(links.target, needed),
        ensure_capacity(links.arc, needed),
    )
