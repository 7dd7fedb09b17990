"""Export of features as a Kaldi data directory has them: feats.scp, cmvn.scp, utt2spk, spk2utt and their archives."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.cmvn import CmvnStats
from asr_parallel.features.config import is_normalised
from asr_parallel.record.files import atomic_file, write_lines

HEADER = "<BiBi"  # rows and columns, before each a byte with the size of the number (Kaldi: src/matrix/kaldi-matrix.cc)


def write_matrices(folder: Path, name: str, place: Path, matrices: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write name.ark and name.scp of (key, matrix), float32 or float64; memory holds one matrix at a time.

    Args:
        folder: where to write.
        name: of the files, without suffix.
        place: absolute path that the folder will have, for name.scp.
        matrices: sorted bytewise by keys, which Kaldi's tools rely on.
    """
    lines = []
    with atomic_file(folder / f"{name}.ark") as temp, temp.open("wb") as file:
        for key, matrix in matrices:
            file.write(key.encode() + b" ")
            lines.append(f"{key} {place / name}.ark:{file.tell()}")
            file.write(b"\0B" + matrix_bytes(matrix))
    write_lines(folder / f"{name}.scp", lines)


def matrix_bytes(matrix: np.ndarray) -> bytes:
    """Return a matrix as Kaldi has it in binary files: float64 as it is, any other type as float32."""
    kind, dtype = (b"DM ", "<f8") if matrix.dtype == np.float64 else (b"FM ", "<f4")
    rows, columns = matrix.shape
    return kind + struct.pack(HEADER, 4, rows, 4, columns) + matrix.astype(dtype).tobytes()


def sorted_utterances(ids: Sequence[str]) -> list[int]:
    """Return the numbers of utterances, sorted bytewise by their ids."""
    return sorted(range(len(ids)), key=lambda u: ids[u].encode())


def export_features(source: Path, folder: Path, place: Path) -> None:
    """Write the feature archive `source` into `folder`, with the sums that normalise each speaker's.

    Features that had been normalised before have no cmvn.scp.

    Args:
        source: an archive of stage 2.
        folder: where to write.
        place: absolute path that the folder will have.

    Raises:
        ValueError: not a feature archive.
    """
    archive = FeatureArchive.open(source)
    order = sorted_utterances(archive.ids)
    write_matrices(folder, "feats", place, ((archive.ids[u], archive[u]) for u in order))
    write_lines(folder / "utt2spk", (f"{archive.ids[u]} {archive.speakers[u]}" for u in order))
    stats = CmvnStats.from_archive(archive)
    of_speaker: dict[str, list[str]] = {speaker: [] for speaker in stats.speakers}
    for u in order:
        of_speaker[archive.speakers[u]].append(archive.ids[u])
    write_lines(folder / "spk2utt", (" ".join([speaker, *own]) for speaker, own in of_speaker.items()))
    if not is_normalised(source):
        write_matrices(folder, "cmvn", place, zip(stats.speakers, _sums(stats), strict=True))


def _sums(stats: CmvnStats) -> Iterable[np.ndarray]:
    """Yield what compute-cmvn-stats makes: sums and the count after them, sums of squares and a zero."""
    for count, sums, squares in zip(stats.counts, stats.sums, stats.squares, strict=True):
        yield np.stack([np.append(sums, count), np.append(squares, 0.0)])


def cmvn_opts(norm_means: bool, norm_vars: bool) -> str:
    """Return the line of a model's cmvn_opts: how apply-cmvn has to normalise its features."""
    return f"--norm-means={norm_means} --norm-vars={norm_vars}".lower()
