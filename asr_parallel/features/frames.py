"""The frame store: a network's training data, ready to be spliced by a strided view.

    frames.npy    (P, D) float16: normalised frames, each utterance with its first and last frame repeated
                  `context` times, so that every window of 2 * context + 1 rows around a real frame stays inside it
    labels.npy    (P,) int16 or int32: pdf id of each row; -1 on the repeated rows
    index.json    context, num_pdfs, normalisation, and of each utterance id, speaker, source and number of frames

An utterance's `source` is its id, or for a perturbed copy the id of the utterance it was made from.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import read_json

CONTEXT = 5  # frames on either side: 11 in all (Kaldi steps/nnet/train.sh, splice 5)
NAN_CHECK_ROWS = 1 << 20  # rows looked at in one go


@dataclass(frozen=True)
class FrameStore:
    """An opened frame store; P rows of D features, U utterances, T real frames.

    frames (P, D) float16, labels (P,): memory-mapped. ids, speakers, sources: U each.
    offsets (U + 1,) int64: utterance u has the rows offsets[u] .. offsets[u + 1], repeated ones included.
    """

    frames: np.ndarray
    labels: np.ndarray
    ids: list[str]
    speakers: list[str]
    sources: list[str]
    offsets: np.ndarray
    context: int
    num_pdfs: int
    normalisation: Normalisation

    @classmethod
    def open(cls, folder: Path) -> "FrameStore":
        """Open and check a folder made by stage 4.

        Raises:
            ValueError: a file is missing, sizes do not fit together, a frame is not finite, a label out of range.
        """
        for name in ("index.json", "frames.npy", "labels.npy"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a frame store made by stage 4")
        index = read_json(folder / "index.json")
        frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
        rows = np.array(index["frames"], dtype=np.int64) + 2 * index["context"]
        store = cls(
            frames,
            labels,
            index["ids"],
            index["speakers"],
            index["sources"],
            np.concatenate([[0], np.cumsum(rows)]),
            index["context"],
            index["num_pdfs"],
            Normalisation.from_json(index["normalisation"]),
        )
        store._check(folder)
        return store

    def _check(self, folder: Path) -> None:
        expected = int(self.offsets[-1])
        if len(self.frames) != expected or len(self.labels) != expected:
            raise ValueError(
                f"{folder}: the index counts {expected} rows, frames.npy has {len(self.frames)}, "
                f"labels.npy {len(self.labels)}"
            )
        if self.frames.dtype != np.float16 or self.dim != len(self.normalisation.scale):
            raise ValueError(f"{folder}: frames.npy is {self.frames.dtype} of {self.dim} dimensions; expected float16")
        if expected and not -1 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_pdfs:
            raise ValueError(
                f"{folder}: labels from {self.labels.min()} to {self.labels.max()}; expected below {self.num_pdfs}"
            )
        for start in range(0, expected, NAN_CHECK_ROWS):
            finite = np.isfinite(self.frames[start : start + NAN_CHECK_ROWS]).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                utterance = self.ids[int(np.searchsorted(self.offsets, row, side="right")) - 1]
                raise ValueError(f"{folder}: utterance {utterance} has a frame that is not finite")

    @property
    def dim(self) -> int:
        """Dimensions of one frame."""
        return int(self.frames.shape[1])

    @property
    def spliced_dim(self) -> int:
        """Dimensions of a frame with its context."""
        return (2 * self.context + 1) * self.dim

    @cached_property
    def _windows(self) -> np.ndarray:
        # Rows are contiguous, so a window of rows is one stretch of memory: window k is rows k .. k + 2 * context.
        rows, dim = self.frames.shape
        item = self.frames.itemsize
        return np.lib.stride_tricks.as_strided(
            self.frames, (rows - 2 * self.context, self.spliced_dim), (dim * item, item), writeable=False
        )

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Spliced frames around B real rows: (B, (2 * context + 1) * D) float16, earliest frame first."""
        return self._windows[rows - self.context]

    def rows_of(self, utterances: np.ndarray) -> np.ndarray:
        """Rows of the real frames of some utterances (numbers into ids), in order."""
        parts = [np.arange(self.offsets[u] + self.context, self.offsets[u + 1] - self.context) for u in utterances]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def groups(self, by: str) -> list[str]:
        """What must not be torn apart: of each utterance its source ("utterance") or its source's speaker ("speaker").

        Raises:
            ValueError: any other `by`.
        """
        if by == "utterance":
            return self.sources
        if by == "speaker":
            speaker_of = dict(zip(self.ids, self.speakers, strict=True))
            return [speaker_of[source] for source in self.sources]
        raise ValueError(f"cannot split by {by!r}; expected utterance or speaker")

    def split(self, held_out: float, by: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Choose utterances to train on and to hold out: two arrays of numbers into ids.

        Args:
            held_out: share of utterances, or of speakers, to hold out; at least one, and not all.
            by: "utterance" or "speaker". Copies go with their source: nothing that was held out is trained on in
                another guise, and only sources themselves are held out.
            seed: of the choice.

        Raises:
            ValueError: bad arguments or too little data to cut in two.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held-out share {held_out}: expected a number between 0 and 1")
        is_copy = np.array([i != source for i, source in zip(self.ids, self.sources, strict=True)])
        group = self.groups(by)
        names = sorted(set(group))
        if len(names) < 2:
            raise ValueError(f"only {len(names)} {by}(s) in the frame store; too few to hold some out")
        count = min(len(names) - 1, max(1, round(held_out * len(names))))
        chosen = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
        out = np.array([name in chosen for name in group])
        return np.flatnonzero(~out), np.flatnonzero(out & ~is_copy)
