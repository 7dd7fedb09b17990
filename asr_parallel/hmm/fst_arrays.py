"""Finite-state transducers as numpy arrays, and a lossless reader and writer of OpenFst's binary vector format.

Graphs are built, searched and kept in memory as arrays. The binary format passes them to and from kaldifst, whose own
accessors are slow (arc by arc) or lose digits (text); Kaldi stores graphs and lattices in the same format.
"""

import os
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.record.compiled import njit
from asr_parallel.record.files import atomic_file

# Arcs have OpenFst's own layout in memory, so that reading or writing them is a single copy.
STD_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("next", "<i4")])
LATTICE_ARC = np.dtype(
    [("ilabel", "<i4"), ("olabel", "<i4"), ("graph_cost", "<f4"), ("acoustic_cost", "<f4"), ("next", "<i4")]
)
ARC_TYPES = {"standard": STD_ARC, "lattice4": LATTICE_ARC}  # OpenFst's names; "lattice4" is Kaldi's LatticeArc
MAGIC = 2125659606  # first word of every OpenFst file
VERSION = 2  # of the vector format; both files of OpenFst 1.7 and 1.8 carry it
EXPANDED_AND_MUTABLE = 3  # the property bits every vector FST has; all other properties stay unknown


@dataclass(frozen=True)
class Fst:
    """A transducer of S states and A arcs.

    start: the initial state.
    finals: (S,) float32 final costs, or (S, 2) graph and acoustic costs for a lattice; infinite where not final.
    offsets: (S + 1,) int64; the arcs of state s are arcs[offsets[s]:offsets[s + 1]].
    arcs: (A,) of STD_ARC or LATTICE_ARC.
    """

    start: int
    finals: np.ndarray
    offsets: np.ndarray
    arcs: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.finals)

    @property
    def sources(self) -> np.ndarray:
        """(A,) int32: the state each arc leaves."""
        return np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.offsets))


def fst_from_arcs(start: int, finals: np.ndarray, sources: np.ndarray, arcs: np.ndarray) -> Fst:
    """Return an FST of arcs in any order; arcs of one state keep their relative order."""
    order = np.argsort(sources, kind="stable")
    counts = np.bincount(sources, minlength=len(finals))
    assert len(counts) == len(finals), "an arc leaves a state that does not exist"
    return Fst(start, finals, np.concatenate([[0], np.cumsum(counts)]), arcs[order])


class CutShortError(ValueError):
    """The data end before the FST does."""


@dataclass(frozen=True)
class FstHeader:
    """Head of a binary vector FST. arc_type: OpenFst's name of it."""

    arc_type: str
    start: int
    num_states: int


def fst_header(arc_type: str, start: int, num_states: int, num_arcs: int) -> bytes:
    """Return the head of a binary vector FST without symbol tables."""
    header = struct.pack("<i", MAGIC)
    for name in (b"vector", arc_type.encode()):
        header += struct.pack("<i", len(name)) + name
    return header + struct.pack("<iiQqqq", VERSION, 0, EXPANDED_AND_MUTABLE, start, num_states, num_arcs)


def read_fst_header(data: bytes | memoryview, at: int, arc_types: Iterable[str], where: str) -> tuple[FstHeader, int]:
    """Return the head of the FST stored at data[at:] and the offset of its first state.

    Raises:
        ValueError: not a binary vector FST of one of `arc_types`, or cut short; the message begins with `where`.
    """
    names = []
    try:
        foreign = struct.unpack_from("<i", data, at) != (MAGIC,)
        at += 4
        for _ in range(0 if foreign else 2):
            (length,) = struct.unpack_from("<i", data, at)
            names.append(bytes(data[at + 4 : at + 4 + min(length, 64)]).decode("ascii", "replace"))
            at += 4 + length
        _, flags, _, start, num_states, _ = struct.unpack_from("<iiQqqq", data, at)
    except struct.error:
        raise CutShortError(f"{where}: too short to hold an FST") from None
    if foreign or names[0] != "vector" or names[1] not in arc_types or flags != 0:
        raise ValueError(f"{where}: not a binary vector FST of type {' or '.join(arc_types)} without symbols")
    return FstHeader(names[1], start, num_states), at + struct.calcsize("<iiQqqq")


def check_targets(targets: np.ndarray, num_states: int, where: str) -> None:
    """Raise ValueError, whose message begins with `where`, unless all targets of arcs are among the states."""
    if len(targets) and not 0 <= targets.min() <= targets.max() < num_states:
        raise ValueError(f"{where}: an arc leads to none of its {num_states} states")


def fst_bytes(fst: Fst) -> bytes:
    """Return `fst` in OpenFst's binary vector format, without symbol tables."""
    arc_type = next(name for name, dtype in ARC_TYPES.items() if dtype == fst.arcs.dtype)
    arc_words = fst.arcs.dtype.itemsize // 4
    weight_words = arc_words - 3  # an arc is two labels, a weight and a state
    counts = np.diff(fst.offsets)
    # each state: its final weight, its number of arcs (int64), its arcs; counted in 4-byte words
    state_at = np.arange(fst.num_states) * (weight_words + 2) + fst.offsets[:-1] * arc_words
    words = np.empty(fst.num_states * (weight_words + 2) + len(fst.arcs) * arc_words, dtype="<i4")
    words[state_at[:, None] + np.arange(weight_words)] = (
        np.ascontiguousarray(fst.finals, dtype="<f4").view("<i4").reshape(-1, weight_words)
    )
    words[state_at[:, None] + weight_words + np.arange(2)] = counts.astype("<i8")[:, None].view("<i4")
    arc_at = np.arange(len(fst.arcs)) * arc_words + (fst.sources.astype(np.int64) + 1) * (weight_words + 2)
    words[arc_at[:, None] + np.arange(arc_words)] = fst.arcs.view("<i4").reshape(-1, arc_words)
    return fst_header(arc_type, fst.start, fst.num_states, len(fst.arcs)) + words.tobytes()


@njit()
def _state_positions(octets, at, num_states, weight_octets, arc_octets):  # type: ignore[no-untyped-def]
    """Return the offset of each state's record and the end of the last one; the latter is -1 for truncated data.

    Works on single bytes because a lattice in an archive need not be aligned to 4 bytes.
    """
    positions = np.empty(num_states + 1, np.int64)
    positions[num_states] = -1
    for state in range(num_states):
        positions[state] = at
        count_at = at + weight_octets
        if count_at + 8 > len(octets):
            return positions
        count = 0
        for i in range(8):
            count |= int(octets[count_at + i]) << (8 * i)
        if count < 0 or count > (len(octets) - count_at - 8) // arc_octets:
            return positions
        at = count_at + 8 + count * arc_octets
    positions[num_states] = at
    return positions


def fst_from_bytes(data: bytes | memoryview, at: int = 0, where: str = "FST") -> tuple[Fst, int]:
    """Return the FST stored at data[at:] and the offset of the first byte after it.

    Raises:
        ValueError: not a binary vector FST of a known arc type, or cut short; the message begins with `where`.
    """
    header, at = read_fst_header(data, at, ARC_TYPES, where)
    arc_type, start, num_states = ARC_TYPES[header.arc_type], header.start, header.num_states
    arc_words, weight_words = arc_type.itemsize // 4, arc_type.itemsize // 4 - 3
    octets = np.frombuffer(data, dtype=np.uint8)
    end = -1
    if 0 <= num_states <= len(octets):
        positions = _state_positions(octets, at, num_states, 4 * weight_words, 4 * arc_words)
        end = int(positions[-1])
    if end < 0:
        raise CutShortError(f"{where}: cut short: fewer bytes than its {num_states} states need")
    words = np.frombuffer(octets[at:end].tobytes(), dtype="<i4")
    state_at = (positions[:-1] - at) // 4
    counts = words[state_at + weight_words].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    finals = words[state_at[:, None] + np.arange(weight_words)].view("<f4")
    arc_at = np.arange(offsets[-1]) * arc_words + (np.repeat(np.arange(num_states), counts) + 1) * (weight_words + 2)
    arcs = words[arc_at[:, None] + np.arange(arc_words)].view(arc_type).reshape(-1)
    check_targets(arcs["next"], num_states, where)
    return Fst(start, finals[:, 0] if weight_words == 1 else finals, offsets, arcs), end


def write_fst(path: Path, fst: Fst) -> None:
    """Write `fst` in OpenFst's binary format, atomically."""
    with atomic_file(path) as temp:
        temp.write_bytes(fst_bytes(fst))


def read_fst(path: Path) -> Fst:
    """Read a binary vector FST.

    Raises:
        ValueError: missing or not such a file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such FST")
    return fst_from_bytes(path.read_bytes(), where=str(path))[0]


def to_kaldifst(fst: Fst) -> Any:
    """Return the same FST as kaldifst's StdVectorFst or Lattice."""
    import kaldifst

    kind = kaldifst.StdVectorFst if fst.arcs.dtype == STD_ARC else kaldifst.Lattice
    with tempfile.TemporaryDirectory(prefix="asr_parallel_") as folder:
        path = Path(folder) / "fst"  # kaldifst passes FSTs through files only
        path.write_bytes(fst_bytes(fst))
        return kind.read(os.fsencode(path))


def from_kaldifst(fst: Any) -> Fst:
    """Return arrays of kaldifst's StdVectorFst or Lattice.

    Raises:
        ValueError: it has no start state, i.e. accepts nothing.
    """
    if fst.start < 0:
        raise ValueError("the FST is empty: it accepts nothing")
    with tempfile.TemporaryDirectory(prefix="asr_parallel_") as folder:
        path = Path(folder) / "fst"
        if not fst.write(os.fsencode(path)):
            raise OSError(f"kaldifst could not write {path}")
        return fst_from_bytes(path.read_bytes())[0]
