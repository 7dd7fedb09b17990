"""Normalisation of the input features of a network: per-speaker CMVN, then a global scale for each dimension.

Features that have been normalised already (by Kaldi's cmvn.scp) get the global mean and scale alone.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.cmvn import VARIANCE_FLOOR, CmvnStats
from asr_parallel.features.config import is_normalised, read_kind


@dataclass(frozen=True)
class Normalisation:
    """Normalisation estimated on training data, stored with the network and applied to all its input.

    kind: kind of features (a key of extractors.KINDS, or "kaldi").
    norm_vars: normalise the variance of each speaker too, not only the mean.
    scale: D factors, the inverse standard deviations of the training data after CMVN; means are zero then.
    mean: D means of the training data, subtracted from all speakers alike; None: each speaker's own is.
    """

    kind: str
    norm_vars: bool
    scale: tuple[float, ...]
    mean: tuple[float, ...] | None = None

    @classmethod
    def estimate(cls, folder: Path, norm_vars: bool = False) -> "Normalisation":
        """Estimate the normalisation on the archive `folder`.

        Raises:
            ValueError: not a feature archive, or variances to normalise of features that have been normalised already.
        """
        stats = CmvnStats.from_archive(FeatureArchive.open(folder))
        kind = read_kind(folder)["kind"]
        if is_normalised(folder):
            if norm_vars:
                raise ValueError(f"{folder}: its features were normalised by cmvn.scp already; expected no --norm-vars")
            mean = stats.sums.sum(axis=0) / stats.counts.sum()
            variance = stats.squares.sum(axis=0) / stats.counts.sum() - mean**2
            return cls(kind, False, _inverse_deviations(variance), tuple(mean.tolist()))
        if norm_vars:
            return cls(kind, True, (1.0,) * stats.sums.shape[1])
        within_speakers = (stats.squares - stats.sums**2 / stats.counts[:, None]).sum(axis=0)
        return cls(kind, False, _inverse_deviations(within_speakers / stats.counts.sum()))

    def per_speaker(self, folder: Path, archive: FeatureArchive) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return speaker -> (scale, shift), (D,) float32 each, to normalise features x as x * scale + shift.

        Args:
            folder, archive: an open archive and its folder.

        Raises:
            ValueError: the archive has another kind of features or another dimension.
        """
        kind = read_kind(folder)["kind"]
        if (kind, archive.dim) != (self.kind, len(self.scale)):
            raise ValueError(
                f"{folder}: {archive.dim}-dimensional {kind} features; "
                f"expected {len(self.scale)}-dimensional {self.kind}"
            )
        overall = np.array(self.scale, dtype=np.float32)
        if self.mean is not None:
            return dict.fromkeys(archive.speakers, (overall, -np.array(self.mean, dtype=np.float32) * overall))
        stats = CmvnStats.from_archive(archive)
        shift, scale = stats.shift_and_scale(self.norm_vars)
        return {name: (scale[s] * overall, shift[s] * overall) for s, name in enumerate(stats.speakers)}

    def apply(self, folder: Path) -> FeatureArchive:
        """Open the archive `folder` and return its normalised features, in memory.

        Raises:
            ValueError: not a feature archive, or of another kind.
        """
        raw = FeatureArchive.open(folder)
        affine = self.per_speaker(folder, raw)
        frames = np.empty(raw.frames.shape, dtype=np.float32)
        for u, (speaker, matrix) in enumerate(zip(raw.speakers, raw, strict=True)):
            scale, shift = affine[speaker]
            frames[raw.offsets[u] : raw.offsets[u + 1]] = matrix * scale + shift
        return FeatureArchive(raw.ids, raw.speakers, raw.offsets, frames)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for `from_json`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Normalisation":
        """Return the inverse of `to_json`."""
        scale = tuple(float(x) for x in value["scale"])
        mean = tuple(float(x) for x in value["mean"]) if "mean" in value else None
        if mean is not None and len(mean) != len(scale):
            raise ValueError(f"a mean of {len(mean)} dimensions, a scale of {len(scale)}")
        return cls(str(value["kind"]), bool(value["norm_vars"]), scale, mean)


def _inverse_deviations(variance: np.ndarray) -> tuple[float, ...]:
    return tuple((np.maximum(variance, VARIANCE_FLOOR) ** -0.5).tolist())
