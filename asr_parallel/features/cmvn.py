"""Cepstral mean and variance normalisation per speaker, as in Kaldi's compute-cmvn-stats and apply-cmvn."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.record.files import atomic_file

VARIANCE_FLOOR = 1e-20  # Kaldi's ApplyCmvn


@dataclass(frozen=True)
class CmvnStats:
    """CMVN statistics: sums over the frames of each speaker.

    speakers: S names, sorted bytewise.
    counts: (S,) frames. sums, squares: (S, D) sums of the features and of their squares. All float64.
    """

    speakers: list[str]
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def from_archive(cls, archive: FeatureArchive) -> "CmvnStats":
        """Accumulate the statistics of an archive."""
        speakers = sorted(set(archive.speakers), key=str.encode)
        row_of = {speaker: row for row, speaker in enumerate(speakers)}
        counts = np.zeros(len(speakers))
        sums = np.zeros((len(speakers), archive.dim))
        squares = np.zeros_like(sums)
        for speaker, matrix in zip(archive.speakers, archive, strict=True):
            row = row_of[speaker]
            counts[row] += len(matrix)
            sums[row] += matrix.sum(axis=0, dtype=np.float64)
            squares[row] += np.square(matrix, dtype=np.float64).sum(axis=0)
        return cls(speakers, counts, sums, squares)

    def shift_and_scale(self, norm_vars: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return shift and scale of each speaker for features * scale + shift, two (S, D) float32 arrays."""
        means = self.sums / self.counts[:, None]
        scale = np.ones_like(means)
        if norm_vars:
            scale = np.maximum(self.squares / self.counts[:, None] - means**2, VARIANCE_FLOOR) ** -0.5
        return (-means * scale).astype(np.float32), scale.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the statistics to `path` (.npz), atomically."""
        with atomic_file(path) as temp, temp.open("wb") as file:
            np.savez(file, speakers=np.array(self.speakers), counts=self.counts, sums=self.sums, squares=self.squares)

    @classmethod
    def open(cls, path: Path) -> "CmvnStats":
        """Read the statistics that `save` wrote.

        Raises:
            ValueError: a missing file, or not CMVN statistics.
        """
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected CMVN statistics made by stage 2")
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["speakers"].tolist(), file["counts"], file["sums"], file["squares"])
        except (KeyError, OSError, ValueError, BadZipFile) as error:
            raise ValueError(f"{path}: not CMVN statistics ({error})") from error


def apply_cmvn(archive: FeatureArchive, norm_vars: bool) -> FeatureArchive:
    """Subtract each speaker's mean, and with `norm_vars` divide by the deviation; return a new archive in memory."""
    stats = CmvnStats.from_archive(archive)
    shift, scale = stats.shift_and_scale(norm_vars)
    row_of = {speaker: row for row, speaker in enumerate(stats.speakers)}
    rows = np.repeat([row_of[speaker] for speaker in archive.speakers], np.diff(archive.offsets))
    frames = archive.frames * scale[rows]
    frames += shift[rows]
    return FeatureArchive(archive.ids, archive.speakers, archive.offsets, frames)
