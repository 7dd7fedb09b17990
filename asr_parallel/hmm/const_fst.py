"""Reader of OpenFst's const format, in which Kaldi's mkgraph.sh writes graphs (OpenFst: src/include/fst/const-fst.h).

After the header come all states, each with its final weight, the index of its first arc and its numbers of arcs and
of epsilons, and then all arcs. States and arcs begin at multiples of 16 bytes in files of version 1.
"""

import struct
from pathlib import Path

import numpy as np

from asr_parallel.hmm.fst_arrays import MAGIC, STD_ARC, Fst, check_targets, fst_from_bytes

ALIGNED_VERSION, ALIGNED_FLAG, ALIGNMENT = 1, 4, 16
STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
NAMES = (b"const", b"standard")  # of the format and of the arcs
HEADER = "<iiQqqq"  # version, flags, properties, start, states, arcs


def read_graph(path: Path) -> Fst:
    """Read a graph in the const or vector format.

    Raises:
        ValueError: no such file, another format, cut short, a state or an arc that is not there, or a weight that is no
            number.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such FST")
    data = path.read_bytes()
    begin = struct.pack("<i", MAGIC) + b"".join(struct.pack("<i", len(name)) + name for name in NAMES)
    if data.startswith(begin):
        fst = _from_const(data, len(begin), path)
    else:
        fst, end = fst_from_bytes(data, where=str(path))
        if end != len(data) or fst.arcs.dtype != STD_ARC:
            raise ValueError(f"{path}: expected one FST with standard arcs, and nothing after it")
    if not 0 <= fst.start < fst.num_states:
        raise ValueError(f"{path}: the FST is empty: it accepts nothing")
    check_targets(fst.arcs["next"], fst.num_states, str(path))
    if np.isnan(fst.arcs["weight"]).any() or np.isnan(fst.finals).any():
        raise ValueError(f"{path}: a weight is not a number")
    return fst


def _from_const(data: bytes, at: int, path: Path) -> Fst:
    """Return the FST whose header goes on at data[at:]."""
    if at + struct.calcsize(HEADER) > len(data):
        raise ValueError(f"{path}: too short to hold an FST")
    version, flags, _, start, num_states, num_arcs = struct.unpack_from(HEADER, data, at)
    aligned = version == ALIGNED_VERSION or flags & ALIGNED_FLAG
    if flags & ~ALIGNED_FLAG:
        raise ValueError(f"{path}: a const FST with symbols; expected one without")
    states_at = _rounded(at + struct.calcsize(HEADER), aligned)
    arcs_at = _rounded(states_at + num_states * STATE.itemsize, aligned)
    end = arcs_at + num_arcs * STD_ARC.itemsize
    if min(num_states, num_arcs) < 0 or end != len(data):
        raise ValueError(f"{path}: {len(data)} bytes; {num_states} states and {num_arcs} arcs need {end}")
    states = np.frombuffer(data, STATE, num_states, states_at)
    offsets = np.concatenate([[0], np.cumsum(states["arcs"].astype(np.int64))])
    if offsets[-1] != num_arcs or (states["first"] != offsets[:-1]).any():
        raise ValueError(f"{path}: damaged: its states have other arcs than it counts")
    arcs = np.frombuffer(data, STD_ARC, num_arcs, arcs_at).copy()
    return Fst(start, np.ascontiguousarray(states["final"]), offsets, arcs)


def _rounded(at: int, aligned: bool) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT if aligned else at
