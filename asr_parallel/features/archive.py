"""Features of a data set on disk: one memory-mapped matrix of all frames, and an index of its utterances.

feats.npy        (T, D) float32, utterance after utterance in the index's order
utterances.json  {"ids": [...], "speakers": [...], "frames": [...]}  one entry an utterance
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.record.files import read_json, write_json


@dataclass(frozen=True)
class FeatureArchive:
    """All frames of a data set.

    ids, speakers: U utterance ids and the speaker of each.
    offsets: (U + 1,) int64; utterance u is frames[offsets[u]:offsets[u + 1]].
    frames: (T, D) float32, memory-mapped when opened from disk.
    """

    ids: list[str]
    speakers: list[str]
    offsets: np.ndarray
    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, u: int) -> np.ndarray:
        """Features of the u-th utterance, (frames, D)."""
        return self.frames[self.offsets[u] : self.offsets[u + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[u] for u in range(len(self)))

    @property
    def dim(self) -> int:
        return int(self.frames.shape[1])

    @classmethod
    def open(cls, folder: Path) -> "FeatureArchive":
        """Open a folder written by `write_archive`.

        Raises:
            ValueError: a file is missing, or matrix and index do not fit together.
        """
        for name in ("utterances.json", "feats.npy"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected features made by stage 2")
        index = read_json(folder / "utterances.json")
        frames = np.load(folder / "feats.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.concatenate([[0], np.cumsum(index["frames"], dtype=np.int64)])
        if offsets[-1] != len(frames):
            raise ValueError(f"{folder}: the index counts {offsets[-1]} frames, the matrix holds {len(frames)}")
        return cls(index["ids"], index["speakers"], offsets, frames)


def write_archive(folder: Path, utterances: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Write (id, speaker, (frames, D) array) triples as an archive, streaming: memory holds one utterance.

    Raises:
        ValueError: no utterance, a repeated id, or differing dimensions.
    """
    ids: list[str] = []
    speakers: list[str] = []
    counts: list[int] = []
    seen: set[str] = set()
    dim = -1
    raw = folder / "feats.raw"
    with raw.open("wb") as file:
        for utterance, speaker, matrix in utterances:
            if utterance in seen:
                raise ValueError(f"{folder}: utterance id {utterance} appears twice")
            if dim not in (-1, matrix.shape[1]):
                raise ValueError(f"{folder}: utterance {utterance} has {matrix.shape[1]} dimensions, expected {dim}")
            dim = matrix.shape[1]
            seen.add(utterance)
            ids.append(utterance)
            speakers.append(speaker)
            counts.append(len(matrix))
            file.write(np.ascontiguousarray(matrix, dtype=np.float32).tobytes())
    if not ids:
        raise ValueError(f"{folder}: no utterance to write features of")
    _add_npy_header(raw, folder / "feats.npy", (sum(counts), dim))
    write_json(folder / "utterances.json", {"ids": ids, "speakers": speakers, "frames": counts})


def _add_npy_header(raw: Path, npy: Path, shape: tuple[int, int]) -> None:
    """Turn raw float32 bytes into a .npy file without holding them in memory."""
    target = np.lib.format.open_memmap(npy, mode="w+", dtype=np.float32, shape=shape)
    if shape[0] * shape[1]:
        target[:] = np.memmap(raw, dtype=np.float32, mode="r", shape=shape)
    target.flush()
    raw.unlink()
