"""Compact, determinised lattices: one path for each sequence of words, as Kaldi's decoders write them.

As in Kaldi's DeterminizeLatticePhonePruned (lat/determinize-lattice-pruned.cc) a first pass determinizes words and
phones together, where phones begin. It leaves little for the second one, of words alone.
"""

# mypy: disable-error-code="no-untyped-def"

import numpy as np

from asr_parallel.decode.compact_lattice import COMPACT_ARC, CompactLattice, with_strings
from asr_parallel.decode.determinize_arrays import Workspace, new_workspace
from asr_parallel.decode.determinize_search import determinize
from asr_parallel.decode.determinize_subsets import ARCS, STATES, LabelledLattice
from asr_parallel.decode.label_strings import written_out
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.lattice_order import sorted_states
from asr_parallel.hmm.fst_arrays import Fst
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.record.compiled import njit
from asr_parallel.record.log import logger

FIRST_SIZE = 1 << 12  # arcs of a result that the arrays have room for at first
LARGEST_SIZE = 1 << 18  # some 340 MB; Kaldi's decoders stop at max_mem = 50 MB and narrow the beam
NARROWER = 0.7  # factor of the beam when that is not enough
MOST_BEAMS = 10  # Kaldi: max_num_iters of DeterminizeLatticePruned


class Determinizer:
    """Determinizes lattices of one transition model; not thread-safe (it holds scratch memory)."""

    def __init__(self, transitions: TransitionModel, acwt: float, beam: float) -> None:
        """Set up the determinization.

        Args:
            acwt: acoustic scale by which the best path of a word sequence is chosen, that of the search.
            beam: word sequences whose cost is higher than the best one's by more are dropped, in scaled costs.
        """
        begins = (transitions.hmm_state_of == 0) & ~transitions.is_self_loop
        self._phone_begins = np.where(begins, transitions.phone_of, 0).astype(np.int64)  # by transition id
        self._num_phones = int(transitions.phone_of.max()) + 1
        self._acwt, self._beam = acwt, beam
        self._workspace = new_workspace(FIRST_SIZE)

    def __call__(self, lattice: Fst) -> CompactLattice:
        """Return the compact lattice of a state-level one.

        Raises:
            ValueError: its states are not in topological order from state 0, or no path may end.
        """
        raw = with_strings(lattice)
        raw.check_order()
        words = lattice.arcs["olabel"].astype(np.int64)
        labels = words * self._num_phones + self._phone_begins[lattice.arcs["ilabel"]]
        beam = self._beam
        for _ in range(MOST_BEAMS):
            result = self._with_beam(raw, labels, beam)
            if result is not None:
                if beam < self._beam:
                    logger.warning("a lattice is too large for a beam of %g: determinized with %.3g", self._beam, beam)
                return result
            beam *= NARROWER
        logger.warning("a lattice of %d arcs could not be determinized: its best path is kept", len(lattice.arcs))
        return _best_path_alone(raw, self._acwt)

    def _with_beam(self, raw: CompactLattice, labels: np.ndarray, beam: float) -> CompactLattice | None:
        """Return the lattice determinized on phones and words, then on words; None where there is no room for it."""
        by_phone, labels = self._determinized(raw, labels, beam)
        if by_phone is None:
            return None
        by_word, words = self._determinized(by_phone, labels // self._num_phones, beam)
        if by_word is not None:
            by_word.arcs["olabel"] = words
        return by_word

    def _determinized(
        self, lattice: CompactLattice, labels: np.ndarray, beam: float
    ) -> tuple[CompactLattice | None, np.ndarray]:
        """Return the lattice determinized on (A,) labels and the labels of its arcs; None where there is no room."""
        labelled = LabelledLattice(
            lattice.finals, lattice.final_spans, lattice.offsets, lattice.arcs, labels, lattice.transition_ids
        )
        while not determinize(labelled, self._workspace, self._acwt, beam):
            size = 2 * len(self._workspace.arcs.source)
            if size > LARGEST_SIZE:
                return None, labels
            del self._workspace  # its memory, before there is more
            self._workspace = new_workspace(size)
        result, labels = _result(self._workspace)
        # costs so large that they differ by more than the beam in the last place leave nothing
        return (result if result.num_states else None), labels


def _best_path_alone(lattice: CompactLattice, acwt: float) -> CompactLattice:
    """Return a lattice of the best path, with its costs and transition ids at the end."""
    path = best_paths(lattice, [(1.0 / acwt, 0.0)])[0]
    count = len(path.words)
    arcs = np.zeros(count, COMPACT_ARC)
    arcs["olabel"], arcs["next"] = path.words, np.arange(1, count + 1)
    finals, spans = np.full((count + 1, 2), np.inf, np.float32), np.zeros((count + 1, 2), np.int32)
    finals[-1], spans[-1] = (path.graph_cost, path.acoustic_cost), (0, len(path.transition_ids))
    offsets = np.minimum(np.arange(count + 2), count)
    return CompactLattice(finals, spans, offsets, arcs, path.transition_ids.astype(np.int32))


@njit()
def _new_numbers(offsets, targets, finals):
    """Return (N,) int32 numbers of the states in topological order, -1 for one from which no path may end."""
    order = sorted_states(offsets, targets)
    ends = np.isfinite(finals)
    for state in order[::-1]:
        for a in range(offsets[state], offsets[state + 1]):
            ends[state] |= ends[targets[a]]
    numbers, kept = np.full(len(finals), -1, np.int32), 0
    for state in order:
        if ends[state]:
            numbers[state] = kept
            kept += 1
    return numbers


def _result(workspace: Workspace) -> tuple[CompactLattice, np.ndarray]:
    """Return the lattice in a workspace, its states in topological order, and (A,) the labels of its arcs."""
    num_states, num_arcs = int(workspace.counts[STATES]), int(workspace.counts[ARCS])
    arcs, states = workspace.arcs, workspace.states
    made = np.flatnonzero(arcs.target[:num_arcs] >= 0)
    made = made[np.argsort(arcs.source[made], kind="stable")]
    first_arcs = np.searchsorted(arcs.source[made], np.arange(num_states + 1))
    finals = np.stack([states.final_graph[:num_states], states.final_acoustic[:num_states]], axis=1)
    numbers = _new_numbers(first_arcs, arcs.target[made], finals[:, 0])
    made = made[(numbers[arcs.source[made]] >= 0) & (numbers[arcs.target[made]] >= 0)]
    made = made[np.lexsort((arcs.label[made], numbers[arcs.source[made]]))]
    sources, targets = numbers[arcs.source[made]], numbers[arcs.target[made]]
    old = np.argsort(numbers)[np.count_nonzero(numbers < 0) :]  # the kept states in their new order
    # an arc has what its own subset's strings have in common and then what following arcs without labels added
    same, depth = arcs.same[made], workspace.strings.depth
    parts = np.stack([arcs.string[made], arcs.more_string[same]], axis=1).ravel()
    before = np.stack([states.string[arcs.source[made]], arcs.string[same]], axis=1).ravel()
    strings, before = np.append(parts, states.final_string[old]), np.append(before, states.string[old])
    ids, offsets = written_out(workspace.strings, strings, depth[before])
    result = np.zeros(len(made), COMPACT_ARC)
    result["graph_cost"] = arcs.graph[made] + arcs.more_graph[same]
    result["acoustic_cost"] = arcs.acoustic[made] + arcs.more_acoustic[same]
    result["next"], result["begin"], result["end"] = targets, offsets[: len(parts) : 2], offsets[2 : len(parts) + 1 : 2]
    spans = np.stack([offsets[len(parts) : -1], offsets[len(parts) + 1 :]], axis=1).astype(np.int32)
    first_arcs = np.searchsorted(sources, np.arange(len(old) + 1))
    lattice = CompactLattice(finals[old].astype(np.float32), spans, first_arcs, result, ids)
    return lattice, arcs.label[made]
