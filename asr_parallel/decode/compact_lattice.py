"""Lattices with words on the arcs and strings of transition ids in the weights: Kaldi's CompactLattice.

In a file their OpenFst arc type is "compactlattice44": a weight is a graph cost, an acoustic cost, the length of the
string (int32) and its transition ids (fstext/lattice-weight.h, CompactLatticeWeightTpl).
"""

# mypy: disable-error-code="no-untyped-def"
from dataclasses import dataclass

import numpy as np

from asr_parallel.hmm.fst_arrays import LATTICE_ARC, CutShortError, Fst, check_targets, fst_header, read_fst_header
from asr_parallel.record.compiled import njit

COMPACT = "compactlattice44"  # the arc type's name
# transition ids of an arc: CompactLattice.transition_ids[begin:end]
COMPACT_ARC = np.dtype(
    [
        ("olabel", "<i4"), ("graph_cost", "<f4"), ("acoustic_cost", "<f4"),
        ("next", "<i4"), ("begin", "<i4"), ("end", "<i4"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class CompactLattice:
    """A lattice of S states, in topological order from state 0, and A arcs.

    finals: (S, 2) float32 graph and acoustic costs, infinite where not final.
    final_spans: (S, 2) int32: the transition ids at the end are transition_ids[begin:end].
    offsets: (S + 1,) int64; the arcs of state s are arcs[offsets[s]:offsets[s + 1]].
    arcs: (A,) COMPACT_ARC.
    transition_ids: (N,) int32, of all arcs and final states.
    """

    finals: np.ndarray
    final_spans: np.ndarray
    offsets: np.ndarray
    arcs: np.ndarray
    transition_ids: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.finals)

    @property
    def in_order(self) -> bool:
        """Return whether the states are in topological order."""
        sources = np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.offsets))
        return bool((self.arcs["next"] > sources).all())

    def check_order(self) -> None:
        """Raise ValueError unless the states are in topological order from state 0 and a path may end."""
        if not self.in_order:
            raise ValueError("the lattice is not in topological order")
        if not np.isfinite(self.finals[:, 0]).any():
            raise ValueError("the lattice has no final state")


def with_strings(lattice: Fst) -> CompactLattice:
    """Return a state-level lattice as a compact one of the same states: an arc has one transition id or none.

    Raises:
        ValueError: it does not start in state 0.
    """
    assert lattice.arcs.dtype == LATTICE_ARC
    if lattice.start != 0:
        raise ValueError("the lattice is not in topological order")
    arcs = np.empty(len(lattice.arcs), COMPACT_ARC)
    for name in ("olabel", "graph_cost", "acoustic_cost", "next"):
        arcs[name] = lattice.arcs[name]
    emitting = lattice.arcs["ilabel"] != 0
    arcs["end"] = np.cumsum(emitting)
    arcs["begin"] = arcs["end"] - emitting
    spans = np.zeros((lattice.num_states, 2), np.int32)
    return CompactLattice(lattice.finals, spans, lattice.offsets, arcs, lattice.arcs["ilabel"][emitting])


@njit()
def _write(words, final_costs, final_spans, offsets, olabels, costs, targets, spans, ids):
    """Write states and arcs into (N,) int32 words; costs are float32 seen as int32."""
    at = 0
    for state in range(len(final_costs)):
        at = _write_weight(words, at, final_costs[state], final_spans[state], ids)
        words[at], words[at + 1] = offsets[state + 1] - offsets[state], 0  # an int64
        at += 2
        for a in range(offsets[state], offsets[state + 1]):
            words[at] = words[at + 1] = olabels[a]
            at = _write_weight(words, at + 2, costs[a], spans[a], ids)
            words[at] = targets[a]
            at += 1


@njit()
def _write_weight(words, at, costs, span, ids):
    words[at], words[at + 1], words[at + 2] = costs[0], costs[1], span[1] - span[0]
    at += 3
    for i in range(span[0], span[1]):
        words[at] = ids[i]
        at += 1
    return at


def compact_bytes(lattice: CompactLattice) -> bytes:
    """Return the lattice in OpenFst's binary vector format, without symbol tables."""
    arcs = lattice.arcs
    spans = np.stack([arcs["begin"], arcs["end"]], axis=1)
    costs = np.stack([arcs["graph_cost"], arcs["acoustic_cost"]], axis=1)
    num_ids = int((spans[:, 1] - spans[:, 0]).sum() + (lattice.final_spans[:, 1] - lattice.final_spans[:, 0]).sum())
    words = np.empty(lattice.num_states * 5 + len(arcs) * 6 + num_ids, "<i4")
    _write(
        words,
        np.ascontiguousarray(lattice.finals, "<f4").view("<i4"),
        lattice.final_spans,
        lattice.offsets,
        np.ascontiguousarray(arcs["olabel"]),
        costs.view("<i4"),
        np.ascontiguousarray(arcs["next"]),
        spans,
        lattice.transition_ids,
    )
    return fst_header(COMPACT, 0, lattice.num_states, len(arcs)) + words.tobytes()


@njit()
def _word(octets, at):
    """Return the int32 at an offset that need not be a multiple of 4."""
    value = np.int64(octets[at]) | np.int64(octets[at + 1]) << 8 | np.int64(octets[at + 2]) << 16
    return np.int32(value | np.int64(octets[at + 3]) << 24)


@njit()
def _measure(octets, at, num_states):
    """Return the numbers of arcs and of transition ids, and the end of the FST: -1 where it is cut short."""
    num_arcs = num_ids = 0
    for _ in range(num_states):
        if at + 12 > len(octets) or not 0 <= _word(octets, at + 8) <= (len(octets) - at) // 4:
            return 0, 0, -1
        num_ids += _word(octets, at + 8)
        at += 12 + 4 * _word(octets, at + 8)
        if at + 8 > len(octets) or _word(octets, at + 4) != 0 or _word(octets, at) < 0:
            return 0, 0, -1
        arcs = _word(octets, at)
        at += 8
        for _ in range(arcs):
            if at + 20 > len(octets) or not 0 <= _word(octets, at + 16) <= (len(octets) - at) // 4:
                return 0, 0, -1
            num_ids += _word(octets, at + 16)
            at += 24 + 4 * _word(octets, at + 16)
        num_arcs += arcs
    return num_arcs, num_ids, at if at <= len(octets) else -1


@njit()
def _read(octets, at, final_costs, final_spans, offsets, olabels, costs, targets, spans, ids):
    """Read states and arcs of an FST that was measured; costs are float32 seen as int32."""
    a = filled = 0
    for state in range(len(final_costs)):
        at, filled = _read_weight(octets, at, final_costs[state], final_spans[state], ids, filled)
        offsets[state + 1] = offsets[state] + _word(octets, at)
        at += 8
        while a < offsets[state + 1]:
            olabels[a] = _word(octets, at + 4)
            at, filled = _read_weight(octets, at + 8, costs[a], spans[a], ids, filled)
            targets[a] = _word(octets, at)
            at += 4
            a += 1


@njit()
def _read_weight(octets, at, costs, span, ids, filled):
    costs[0], costs[1], length = _word(octets, at), _word(octets, at + 4), _word(octets, at + 8)
    at += 12
    span[0], span[1] = filled, filled + length
    for i in range(length):
        ids[filled + i] = _word(octets, at + 4 * i)
    return at + 4 * length, filled + length


def compact_from_bytes(data: bytes | memoryview, at: int = 0, where: str = "lattice") -> tuple[CompactLattice, int]:
    """Return the lattice stored at data[at:] and the offset of the first byte after it.

    Raises:
        ValueError: not a compact lattice, or cut short; the message begins with `where`.
    """
    header, at = read_fst_header(data, at, (COMPACT,), where)
    octets = np.frombuffer(data, np.uint8)
    num_arcs = num_ids = end = -1
    if 0 <= header.num_states <= len(octets):
        num_arcs, num_ids, end = _measure(octets, at, header.num_states)
    if end < 0:
        raise CutShortError(f"{where}: cut short: fewer bytes than its {header.num_states} states need")
    final_costs, final_spans = np.empty((2, header.num_states, 2), np.int32)
    costs, spans = np.empty((2, num_arcs, 2), np.int32)
    olabels, targets = np.empty((2, num_arcs), np.int32)
    offsets, ids = np.zeros(header.num_states + 1, np.int64), np.empty(num_ids, np.int32)
    _read(octets, at, final_costs, final_spans, offsets, olabels, costs, targets, spans, ids)
    arcs = np.empty(num_arcs, COMPACT_ARC)
    arcs["olabel"], arcs["next"], arcs["begin"], arcs["end"] = olabels, targets, spans[:, 0], spans[:, 1]
    arcs["graph_cost"], arcs["acoustic_cost"] = costs.view(np.float32).T
    if header.num_states == 0 or header.start != 0:
        raise ValueError(f"{where}: {header.num_states} states from {header.start}; expected some, from state 0")
    check_targets(targets, header.num_states, where)
    return CompactLattice(final_costs.view(np.float32), final_spans, offsets, arcs, ids), int(end)
