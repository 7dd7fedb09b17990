r"""Lattices on disk as Kaldi keeps them: a gzipped archive.

Each entry is "utterance-id ", then an OpenFst vector FST: of arc type compactlattice44, as Kaldi's decoders write it
(compact_lattice.py), or of arc type lattice4, as with --determinize-lattice=false. As in every Kaldi table
of FSTs there is no "\0B" before it (lat/kaldi-lattice.cc, CompactLatticeHolder). Graph and acoustic costs are apart and
unscaled.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr_parallel.decode.compact_lattice import COMPACT, CompactLattice, compact_from_bytes, with_strings
from asr_parallel.decode.lattice_order import in_topological_order
from asr_parallel.hmm.fst_arrays import ARC_TYPES, LATTICE_ARC, CutShortError, fst_from_bytes, read_fst_header
from asr_parallel.record.files import atomic_file

LATTICES = "lat.1.gz"  # Kaldi's name of the first job's
ONE_BEST = "1best.txt"  # beside it: the words of every utterance, also of those without a lattice
LONGEST_ID = 4096  # bytes; only to detect a damaged archive
CHUNK = 1 << 22  # bytes read at once
LEVEL = 6  # of gzip
STATE_LEVEL = next(name for name, dtype in ARC_TYPES.items() if dtype == LATTICE_ARC)


def write_lattices(path: Path, lattices: Iterable[tuple[str, bytes]]) -> None:
    """Write (utterance id, `compact_bytes` or `fst_bytes` of its lattice) pairs, atomically."""
    with (
        atomic_file(path) as temp,
        temp.open("wb") as raw,
        gzip.GzipFile(path.name, "wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as file,
    ):
        for utterance, lattice in lattices:
            assert utterance.split() == [utterance], "an id with spaces"
            file.write(utterance.encode() + b" ")
            file.write(lattice)


def read_lattices(path: Path) -> Iterator[tuple[str, CompactLattice]]:
    """Yield (utterance id, lattice) in the order of the archive. A state-level lattice has an arc for each of its arcs.

    States come in topological order, whatever order the archive has them in.

    Raises:
        ValueError: the archive is missing, damaged, or holds something else, or a lattice has a cycle.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such lattice archive; expected one made by decode")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: empty; expected a gzipped archive")
    data, at, complete = b"", 0, False
    with gzip.open(path) as file:
        while at < len(data) or not complete:
            try:
                utterance, lattice, at = _entry(data, at, path)
            except CutShortError:
                if complete:
                    raise
            else:
                yield utterance, _ordered(lattice, f"{path}: lattice of {utterance}")
                continue
            # the next entry is not in memory as a whole: twice as much is read whenever that was not enough
            data, at = data[at:], 0
            try:
                more = file.read(max(CHUNK, len(data)))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(f"{path}: damaged: {error}") from None
            complete = not more
            data += more


def _entry(data: bytes, at: int, path: Path) -> tuple[str, CompactLattice, int]:
    """Return the entry at data[at:] and where it ends."""
    key, space, _ = data[at : at + LONGEST_ID].partition(b" ")
    if not space:
        kind = ValueError if len(data) - at >= LONGEST_ID else CutShortError
        raise kind(f"{path}: no utterance id before a lattice: damaged, or no lattice archive")
    utterance = key.decode("utf-8", "replace")
    where, at = f"{path}: lattice of {utterance}", at + len(key) + 1
    header, _ = read_fst_header(data, at, (COMPACT, STATE_LEVEL), where)
    if header.arc_type == COMPACT:
        return utterance, *compact_from_bytes(data, at, where)
    lattice, end = fst_from_bytes(data, at, where)
    if lattice.start != 0:
        raise ValueError(f"{where}: begins in state {lattice.start}; expected state 0")
    return utterance, with_strings(lattice), end


def _ordered(lattice: CompactLattice, where: str) -> CompactLattice:
    try:
        return in_topological_order(lattice)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
