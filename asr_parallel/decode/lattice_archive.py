r"""Lattices on disk as Kaldi keeps them: an archive of state-level lattices.

Each entry is "utterance-id ", then an OpenFst vector FST of arc type lattice4: what Kaldi's decoders write with
--determinize-lattice=false and what lattice-scale, lattice-best-path, lattice-determinize-pruned ... read. As in
every Kaldi table of FSTs there is no "\0B" before it (src/lat/kaldi-lattice.cc, CompactLatticeHolder). Graph and
acoustic costs are apart and unscaled, ilabels are transition ids, olabels word ids.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from asr_parallel.hmm.fst_arrays import LATTICE_ARC, Fst, fst_from_bytes
from asr_parallel.record.files import atomic_file

LATTICES = "lat.ark"
ONE_BEST = "1best.txt"  # beside it: the words of every utterance, also of those without a lattice
LONGEST_ID = 4096  # bytes; only to detect a damaged archive


def write_lattices(path: Path, lattices: Iterable[tuple[str, bytes]]) -> None:
    """Write (utterance id, `fst_bytes` of its lattice) pairs, atomically."""
    with atomic_file(path) as temp, temp.open("wb") as file:
        for utterance, lattice in lattices:
            file.write(utterance.encode() + b" ")
            file.write(lattice)


def read_lattices(path: Path) -> Iterator[tuple[str, Fst]]:
    """Yield (utterance id, lattice) in the order of the archive.

    Raises:
        ValueError: the archive is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such lattice archive; expected one made by decode")
    if path.stat().st_size == 0:
        return
    data = np.memmap(path, dtype=np.uint8, mode="r").data
    at = 0
    while at < len(data):
        key, space, _ = data[at : at + LONGEST_ID].tobytes().partition(b" ")
        if not space:
            raise ValueError(f"{path}: no utterance id at octet {at}: damaged, or no lattice archive")
        utterance = key.decode("utf-8", "replace")
        lattice, at = fst_from_bytes(data, at + len(key) + 1, f"{path}: lattice of {utterance}")
        if lattice.arcs.dtype != LATTICE_ARC:
            raise ValueError(f"{path}: {utterance} is a plain FST, not a lattice")
        yield utterance, lattice
