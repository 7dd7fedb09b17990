"""Decoding graph in the layout of the search: memory-mapped arrays, so that processes share one copy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.hmm.fst_arrays import Fst

ARRAYS = ("offsets", "first_epsilon", "arcs", "finals")


@dataclass(frozen=True)
class SearchGraph:
    """S states and A arcs; every epsilon arc leads from a lower to a higher state.

    start: the initial state.
    offsets: (S + 1,) int64; arcs[offsets[s]:offsets[s + 1]] leave state s.
    first_epsilon: (S,) int64; of these, arcs from first_epsilon[s] on have ilabel 0.
    arcs: (A,) STD_ARC; ilabels are transition ids, olabels word ids.
    finals: (S,) float32, infinite where not final.
    """

    start: int
    offsets: np.ndarray
    first_epsilon: np.ndarray
    arcs: np.ndarray
    finals: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.finals)

    @property
    def max_ilabel(self) -> int:
        return int(self.arcs["ilabel"].max(initial=0))

    def save(self, folder: Path) -> None:
        """Write the arrays as .npy files into the new folder `folder`."""
        folder.mkdir()
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        np.save(folder / "start.npy", np.int64(self.start), allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> "SearchGraph":
        """Map a folder written by `save`.

        Raises:
            ValueError: a file is missing.
        """
        for name in (*ARRAYS, "start"):
            if not (folder / f"{name}.npy").is_file():
                raise ValueError(f"{folder}: no {name}.npy; expected a graph made by make-graph")
        arrays = {
            # views as plain ndarray, so that numba compiles the search for one type
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
            for name in ARRAYS
        }
        return cls(int(np.load(folder / "start.npy", allow_pickle=False)), **arrays)


def epsilon_levels(fst: Fst) -> np.ndarray:
    """Return (S,) the length of the longest chain of epsilon-input arcs that ends in each state.

    Raises:
        ValueError: such arcs form a cycle.
    """
    epsilon = fst.arcs["ilabel"] == 0
    sources, targets = fst.sources[epsilon], fst.arcs["next"][epsilon]
    levels = np.zeros(fst.num_states, dtype=np.int64)
    while len(sources):
        if levels.max() > len(fst.arcs):
            raise ValueError("the graph has a cycle of arcs without input label: words that take no time")
        longer = levels[sources] >= levels[targets]
        # all arcs are checked again: raising a source may affect arcs that were in order
        if not longer.any():
            break
        np.maximum.at(levels, targets[longer], levels[sources[longer]] + 1)
    return levels


def search_graph(fst: Fst) -> SearchGraph:
    """Renumber the states so that epsilon arcs lead upwards, and put each state's emitting arcs first.

    Raises:
        ValueError: a cycle of epsilon arcs.
    """
    new_to_old = np.argsort(epsilon_levels(fst), kind="stable")
    old_to_new = np.empty(fst.num_states, dtype=np.int32)
    old_to_new[new_to_old] = np.arange(fst.num_states, dtype=np.int32)
    sources = old_to_new[fst.sources]
    order = np.lexsort((fst.arcs["ilabel"] == 0, sources))
    arcs = fst.arcs[order]
    arcs["next"] = old_to_new[arcs["next"]]
    offsets = np.searchsorted(sources[order], np.arange(fst.num_states + 1))
    emitting = np.bincount(sources[order][arcs["ilabel"] != 0], minlength=fst.num_states)
    graph = SearchGraph(int(old_to_new[fst.start]), offsets, offsets[:-1] + emitting, arcs, fst.finals[new_to_old])
    for name in ARRAYS:  # read-only like the memory-mapped ones
        getattr(graph, name).flags.writeable = False
    return graph
