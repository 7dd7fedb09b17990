"""Forced alignments: a transition id for every frame, in memory and on disk.

transition_ids.npy   (T,) int32, utterance after utterance
utterances.json      {"ids": [...], "frames": [...]}
failed.txt           "id reason" of utterances that could not be aligned (they are not among the ids)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.record.files import atomic_file, read_json, write_json, write_lines


@dataclass(frozen=True)
class AlignmentSet:
    """Alignments of U utterances with T frames in all.

    ids: utterance ids. offsets (U + 1,) int64: utterance u is transition_ids[offsets[u]:offsets[u + 1]].
    transition_ids (T,) int32.
    """

    ids: list[str]
    offsets: np.ndarray
    transition_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, u: int) -> np.ndarray:
        """Return transition ids of the u-th utterance."""
        return self.transition_ids[self.offsets[u] : self.offsets[u + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[u] for u in range(len(self)))

    def pdf_ids(self, transitions: TransitionModel) -> np.ndarray:
        """Return (T,) int32: the pdf id of every frame."""
        return transitions.pdf_of[self.transition_ids]

    @classmethod
    def of(cls, ids: Sequence[str], alignments: Sequence[np.ndarray]) -> "AlignmentSet":
        """Concatenate the alignments of single utterances."""
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in alignments], dtype=np.int64)])
        joined = np.concatenate([np.empty(0, dtype=np.int32), *alignments])
        return cls(list(ids), offsets, joined.astype(np.int32))

    @classmethod
    def open(cls, folder: Path) -> "AlignmentSet":
        """Open what `write` wrote, memory-mapped.

        Raises:
            ValueError: a file is missing, or they do not fit together.
        """
        for name in ("utterances.json", "transition_ids.npy"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected alignments made by stage 3")
        index = read_json(folder / "utterances.json")
        tids = np.load(folder / "transition_ids.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.concatenate([[0], np.cumsum(index["frames"], dtype=np.int64)])
        if offsets[-1] != len(tids):
            raise ValueError(f"{folder}: the index counts {offsets[-1]} frames, the alignments have {len(tids)}")
        return cls(index["ids"], offsets, tids)

    def write(self, folder: Path, failed: Sequence[tuple[str, str]] = ()) -> None:
        """Write into `folder` (made if missing); `failed` are (utterance id, reason) pairs."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / "transition_ids.npy") as temp, temp.open("wb") as file:
            np.save(file, self.transition_ids)
        write_json(folder / "utterances.json", {"ids": self.ids, "frames": np.diff(self.offsets).tolist()})
        write_lines(folder / "failed.txt", (f"{utterance} {reason}" for utterance, reason in failed))
