"""Arrays that the determinization of a lattice works in.

They have a fixed size and serve one utterance after the other. What finds no room is counted and lost; the caller then
makes them larger and begins again, which is rare.
"""

from typing import NamedTuple

import numpy as np

from asr_parallel.decode.label_strings import LabelStrings, new_label_strings


class Subsets(NamedTuple):
    """Elements of all subsets, one after another, each subset in the order of its states.

    state: (E,) int32 lattice states.
    string: (E,) int32 transition ids of the best path with the labels so far that ends in the state.
    key: (E,) int64, of that string without the beginning that all strings of the subset share.
    graph, acoustic: (E,) float64, how much the costs of that path exceed those on the arcs of the result.
    """

    state: np.ndarray
    string: np.ndarray
    key: np.ndarray
    graph: np.ndarray
    acoustic: np.ndarray


class NewArcs(NamedTuple):
    """Arcs of the result. One that waits to be followed has target -1.

    source, target: (A,) int32. label: (A,) int64. graph, acoustic: (A,) float64.
    priority: (A,) float64, the cost of the best path through the arc.
    begin, end: (A,) int32 elements of the subset that it leads to, before arcs without labels are followed.
    string: (A,) int32, with which all strings of this subset begin.
    more_string, more_graph, more_acoustic: the string after following arcs without labels, and what that adds.
    same: (A,) int32, the arc with the same subset that was followed first: its `more` counts.
    """

    source: np.ndarray
    target: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    string: np.ndarray
    more_string: np.ndarray
    same: np.ndarray
    label: np.ndarray
    graph: np.ndarray
    acoustic: np.ndarray
    more_graph: np.ndarray
    more_acoustic: np.ndarray
    priority: np.ndarray


class NewStates(NamedTuple):
    """States of the result.

    begin, end: (N,) int32 elements. string: (N,) int32, with which all their strings begin.
    forward: (N,) float64 cost of the best path to the state.
    final_string: (N,) int32. final_graph, final_acoustic: (N,) float64, infinite where not final.
    """

    begin: np.ndarray
    end: np.ndarray
    string: np.ndarray
    final_string: np.ndarray
    forward: np.ndarray
    final_graph: np.ndarray
    final_acoustic: np.ndarray


class Workspace(NamedTuple):
    """All arrays. state_table, arc_table: hash tables of states and of arcs by their subsets, -1 where free.

    queue: (A,) int32 heap of the arcs that wait. counts: (4,) int64 numbers of elements, arcs, states, and arcs in the
    queue.
    """

    strings: LabelStrings
    subsets: Subsets
    arcs: NewArcs
    states: NewStates
    state_table: np.ndarray
    arc_table: np.ndarray
    queue: np.ndarray
    counts: np.ndarray


def new_workspace(size: int) -> Workspace:
    """Return arrays for `size` arcs (a power of two) and what such a result usually needs beside them."""
    assert size & (size - 1) == 0
    elements = 16 * size
    arc_kinds = [np.int32] * 7 + [np.int64] + [np.float64] * 5
    return Workspace(
        new_label_strings(32 * size),
        Subsets(*[np.zeros(elements, kind) for kind in [np.int32] * 2 + [np.int64] + [np.float64] * 2]),
        NewArcs(*[np.zeros(size, kind) for kind in arc_kinds]),
        NewStates(*[np.zeros(size, kind) for kind in [np.int32] * 4 + [np.float64] * 3]),
        np.full(2 * size, -1, np.int32),
        np.full(2 * size, -1, np.int32),
        np.zeros(size, np.int32),
        np.zeros(4, np.int64),
    )
