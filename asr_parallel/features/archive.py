"""A feature archive: one memory-mapped matrix of all frames of a data set, and an index of its utterances.

feats.npy        (T, D) float32, utterance after utterance in the index's order
utterances.json  {"ids": [...], "speakers": [...], "frames": [...]}  one entry an utterance
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.matrix_file import matrix_file


@dataclass(frozen=True)
class FeatureArchive:
    """The features of a data set.

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
        """Return features of the u-th utterance, (frames, D)."""
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
            ValueError: a file is missing, or matrix and index differ in the number of frames.
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
    """Write an archive from a stream of (id, speaker, (frames, D) array); memory holds one utterance at a time.

    Raises:
        ValueError: no utterances, a duplicate id, or different dimensions.
    """
    utterances = iter(utterances)
    first = next(utterances, None)
    if first is None:
        raise ValueError(f"{folder}: no utterance to write features of")
    dim = first[2].shape[1]
    ids: list[str] = []
    speakers: list[str] = []
    counts: list[int] = []
    seen: set[str] = set()
    with matrix_file(folder / "feats.npy", np.float32, dim) as file:
        for utterance, speaker, matrix in chain([first], utterances):
            if utterance in seen:
                raise ValueError(f"{folder}: utterance id {utterance} appears twice")
            if matrix.shape[1] != dim:
                raise ValueError(f"{folder}: utterance {utterance} has {matrix.shape[1]} dimensions, expected {dim}")
            seen.add(utterance)
            ids.append(utterance)
            speakers.append(speaker)
            counts.append(len(matrix))
            file.append(matrix)
    write_json(folder / "utterances.json", {"ids": ids, "speakers": speakers, "frames": counts})
