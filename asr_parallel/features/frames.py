"""The frame store: the training data of a network, stored so that splicing is a strided view.

    frames.npy    (P, D) float16: normalised frames, each utterance with its first and last frame repeated
                  `context` times, so that each window of 2 * context + 1 rows around a frame is within the utterance
    labels.npy    (P,) int16 or int32: pdf id of each row; -1 in the repeated rows
    index.json    context, num_pdfs, normalisation, feature_config (config.py), and for each utterance
                  id, speaker, source and number of frames

The `source` of an utterance is its id, or for a perturbed copy the id of the original utterance.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.features.frame_index import read_index
from asr_parallel.features.normalisation import Normalisation

CONTEXT = 5  # frames on either side: 11 in all (Kaldi steps/nnet/train.sh, splice 5)
# Fixed seed of the held-out split, instead of the seed of a training: trainings of all seeds are evaluated on the same
# frames, and one that continues another does not train on frames held out there. The value is arbitrary
HELD_OUT_SEED = 0
CHECKED_ROWS = 1 << 15  # checked in one pass: they fit the processor's cache


FLOAT16_EXPONENT = np.uint16(0x7C00)


@dataclass(frozen=True)
class FrameStore:
    """An opened frame store; P rows of D features, U utterances, T real frames.

    frames (P, D) float16, labels (P,): memory-mapped. ids, speakers, sources: U each.
    offsets (U + 1,) int64: utterance u has the rows offsets[u] .. offsets[u + 1], repeated ones included.
    feature_config: description of the features, see config.py.
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
    feature_config: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "FrameStore":
        """Open a folder made by stage 4 and check it completely: every row is read, a few megabytes at a time.

        Raises:
            ValueError: a file is missing or truncated, sizes or types are inconsistent, the features differ from their
                description, a frame is not finite, or a label is out of range.
        """
        for name in ("index.json", "frames.npy", "labels.npy"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a frame store made by stage 4")
        index = read_index(folder / "index.json")
        rows = np.array(index["frames"], dtype=np.int64) + 2 * index["context"]
        store = cls(
            _map(folder / "frames.npy", 2, (np.float16,)),
            _map(folder / "labels.npy", 1, (np.int16, np.int32)),
            index["ids"],
            index["speakers"],
            index["sources"],
            np.concatenate([[0], np.cumsum(rows)]),
            index["context"],
            index["num_pdfs"],
            index["normalisation"],
            index["feature_config"],
        )
        store._check_sizes(folder)
        for start in range(0, len(store.frames), CHECKED_ROWS):
            store._check_rows(folder, start, min(start + CHECKED_ROWS, len(store.frames)))
        return store

    def _check_sizes(self, folder: Path) -> None:
        expected = int(self.offsets[-1])
        if len(self.frames) != expected or len(self.labels) != expected:
            raise ValueError(
                f"{folder}: the index counts {expected} rows, frames.npy has {len(self.frames)}, "
                f"labels.npy {len(self.labels)}"
            )
        found = (self.normalisation.kind, self.dim, len(self.normalisation.scale))
        made = (self.feature_config["kind"], self.feature_config["dim"], self.feature_config["dim"])
        if found != made:
            raise ValueError(
                f"{folder}: frames.npy has {found[1]} dimensions, the normalisation is of {found[2]}-dimensional "
                f"{found[0]}; the features were {made[1]}-dimensional {made[0]}"
            )

    def _check_rows(self, folder: Path, start: int, stop: int) -> None:
        # A float16 number is not finite if all bits of its exponent are set; the test on integers is fast.
        finite = (self.frames[start:stop].view(np.uint16) & FLOAT16_EXPONENT) != FLOAT16_EXPONENT
        if not finite.all():
            row = start + int(np.argmin(finite.all(axis=1)))
            raise ValueError(f"{folder}: {self._where(row)} is not finite")
        first, last = np.searchsorted(self.offsets, (start - self.context, stop + self.context), side="left")
        around = np.arange(-self.context, self.context)  # the end of one utterance and the start of the next
        repeated = (self.offsets[first : last + 1, None] + around).reshape(-1)
        real = np.ones(stop - start, dtype=bool)
        real[repeated[(repeated >= start) & (repeated < stop)] - start] = False
        labels = self.labels[start:stop]
        good = np.where(real, (labels >= 0) & (labels < self.num_pdfs), labels == -1)
        if not good.all():
            row = start + int(np.argmin(good))
            expected = f"0 to {self.num_pdfs - 1}" if real[row - start] else "-1, for it is a repeated one"
            raise ValueError(f"{folder}: {self._where(row)} has label {self.labels[row]}; expected {expected}")

    def _where(self, row: int) -> str:
        u = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return f"utterance {self.ids[u]}, row {row - self.offsets[u]} of {self.offsets[u + 1] - self.offsets[u]},"

    @property
    def dim(self) -> int:
        """Dimension of one frame."""
        return int(self.frames.shape[1])

    @property
    def spliced_dim(self) -> int:
        """Dimension of a spliced frame."""
        return (2 * self.context + 1) * self.dim

    @cached_property
    def _windows(self) -> np.ndarray:
        # Rows are contiguous in memory, so window k is rows k .. k + 2 * context without a copy.
        rows, dim = self.frames.shape
        item = self.frames.itemsize
        return np.lib.stride_tricks.as_strided(
            self.frames, (rows - 2 * self.context, self.spliced_dim), (dim * item, item), writeable=False
        )

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the spliced frames of B rows, none of them padding: (B, (2 * context + 1) * D) float16."""
        return self._windows[rows - self.context]

    def rows_of(self, utterances: np.ndarray) -> np.ndarray:
        """Return the rows of utterances (indices into ids) without padding, in order; int32 if they fit."""
        dtype = np.int32 if self.offsets[-1] <= np.iinfo(np.int32).max else np.int64
        first, last = self.offsets[:-1] + self.context, self.offsets[1:] - self.context
        parts = [np.arange(first[u], last[u], dtype=dtype) for u in utterances]
        return np.concatenate([np.empty(0, dtype=dtype), *parts])

    def groups(self, by: str) -> list[str]:
        """Return the group of each utterance for splitting: its source ("utterance") or its speaker ("speaker").

        Raises:
            ValueError: any other `by`.
        """
        if by == "utterance":
            return self.sources
        if by == "speaker":
            speaker_of = dict(zip(self.ids, self.speakers, strict=True))
            return [speaker_of[source] for source in self.sources]
        raise ValueError(f"cannot split by {by!r}; expected utterance or speaker")

    def split(self, held_out: float, by: str, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the utterances to train on and to hold out, as indices into ids; the same in every training.

        Args:
            held_out: share of utterances, or of speakers, to hold out; at least one is held out, and not all.
            by: "utterance" or "speaker". Copies of held-out utterances are in neither part: they are not
                trained on, and only original utterances are held out.
            share: of what is not held out, to train on; at least one utterance or speaker. A smaller part lies in
                every larger one, and what is held out is the same.

        Raises:
            ValueError: bad arguments or too little data to split.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held-out share {held_out}: expected a number between 0 and 1")
        if not 0 < share <= 1:
            raise ValueError(f"share {share} of the training data: expected a number above 0 and at most 1")
        is_copy = np.array([i != source for i, source in zip(self.ids, self.sources, strict=True)])
        group = self.groups(by)
        names = sorted(set(group))
        if len(names) < 2:
            raise ValueError(f"only {len(names)} {by}(s) in the frame store; too few to hold some out")
        count = min(len(names) - 1, max(1, round(held_out * len(names))))
        shuffled = np.random.default_rng(HELD_OUT_SEED).permutation(names)
        chosen, rest = shuffled[:count], shuffled[count:]
        out = np.isin(group, chosen)
        kept = np.isin(group, rest[: max(1, round(share * len(rest)))])
        return np.flatnonzero(kept), np.flatnonzero(out & ~is_copy)


def _map(path: Path, dimensions: int, dtypes: tuple[type[np.generic], ...]) -> np.ndarray:
    """Memory-map a .npy file; ValueError if it is damaged or has another number of dimensions or type."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: truncated or not a .npy file: {str(error).splitlines()[0]}") from error
    if array.ndim != dimensions or array.dtype not in dtypes or not array.flags.c_contiguous:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise ValueError(
            f"{path}: {array.ndim}-dimensional {array.dtype}; expected {dimensions}-dimensional {names} in C order"
        )
    return array
