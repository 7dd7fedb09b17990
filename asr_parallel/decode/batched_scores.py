"""Log-likelihoods of many utterances at a time, which one process computes for the searches of others.

A GPU scores frames faster than all cores search them, and processes that share it only wait for each other. So one
process has the network, and hands each batch of scores on in a file that the others map into their memory. A pipe takes
four to seven times as much of its time: 4.4 ms for 300 frames of 3,000 pdfs, where the file takes 0.6 to 1. The file is
in the folder of temporary files (TMPDIR) and lives for the batch's searches.
"""

import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from asr_parallel.features.archive import FeatureArchive

if TYPE_CHECKING:
    from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel

# Frames scored in a batch: some 25 utterances, enough to keep 8 searching processes busy, and 100 MB for 3,000 pdfs
BATCH_FRAMES = 8192
JOBS_A_BATCH = 8
WARM_UP_FILE = "warm_up.npy"

T = TypeVar("T")


@dataclass(frozen=True)
class StoredScores:
    """The log-likelihoods of an utterance, (frames, num_pdfs) float32 in a file from the row `start` on.

    cpu_seconds: that they have taken.
    """

    path: Path
    start: int
    frames: int
    num_pdfs: int
    cpu_seconds: float

    def read(self) -> np.ndarray:
        """Map them into memory."""
        shape, row = (self.frames, self.num_pdfs), self.num_pdfs * np.dtype(np.float32).itemsize
        if not self.frames:
            return np.empty(shape, dtype=np.float32)
        # Copy-on-write, since compiled functions are compiled anew for an array that is read-only
        return np.asarray(np.memmap(self.path, np.float32, mode="c", offset=self.start * row, shape=shape))


@dataclass(frozen=True)
class PrecomputedScores:
    """An acoustic model whose features are log-likelihoods already; an archive of it has those to warm up with."""

    num_pdfs: int
    warm_up: Path

    def open_features(self, folder: Path) -> FeatureArchive:
        """Return an archive of one utterance's log-likelihoods, whatever features they were computed from."""
        frames = np.load(self.warm_up, allow_pickle=False)
        return FeatureArchive(["warm-up"], ["warm-up"], np.array([0, len(frames)]), frames)

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """Return them as they are."""
        return features


@dataclass(frozen=True)
class ScoredBatch:
    """Consecutive utterances whose log-likelihoods lie in one file."""

    path: Path
    utterances: Sequence[StoredScores]


class BatchScorer:
    """The scores of all utterances of an archive, a batch at a time, in files of a temporary folder."""

    def __init__(self, model: "DnnAcousticModel", features: FeatureArchive, warm_up_frames: int) -> None:
        """Compute the scores of the first frames, which searches warm up with."""
        self._model, self._features = model, features
        self._folder = tempfile.TemporaryDirectory(prefix="asr-parallel-scores-")
        warm_up = Path(self._folder.name) / WARM_UP_FILE
        np.save(warm_up, model.log_likelihoods(features.frames[:warm_up_frames]))
        self.model = PrecomputedScores(model.num_pdfs, warm_up)

    @classmethod
    def open(cls, model: Path, features: Path, device: str, warm_up_frames: int) -> "BatchScorer":
        """Open a network and the raw archive `features`; ValueError where they do not fit together."""
        from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel

        network = DnnAcousticModel.open(model, device)
        return cls(network, network.open_features(features), warm_up_frames)

    def __enter__(self) -> "BatchScorer":
        return self

    def __exit__(self, *_: object) -> None:
        """Remove all files."""
        self._folder.cleanup()

    def __iter__(self) -> Iterator[ScoredBatch]:
        """Compute and yield the batches in the order of the utterances."""
        offsets, num_pdfs = self._features.offsets, self._model.num_pdfs
        for number, (first, end) in enumerate(batches_of(np.diff(offsets).tolist())):
            start = time.process_time()
            path, rows = Path(self._folder.name) / f"{number}.float32", int(offsets[end] - offsets[first])
            if rows:
                with path.open("wb") as file:
                    file.truncate(4 * rows * num_pdfs)
                    if hasattr(os, "posix_fallocate"):  # else a full disk would end the process when pages are written
                        os.posix_fallocate(file.fileno(), 0, 4 * rows * num_pdfs)
                scores = np.memmap(path, np.float32, mode="r+", shape=(rows, num_pdfs))
                self._model.score([self._features[u] for u in range(first, end)], scores)
                del scores
            else:
                path.touch()
            seconds_a_frame = (time.process_time() - start) / max(rows, 1)
            places = zip(offsets[first:end] - offsets[first], np.diff(offsets[first : end + 1]), strict=True)
            yield ScoredBatch(
                path, [StoredScores(path, int(at), int(n), num_pdfs, int(n) * seconds_a_frame) for at, n in places]
            )


def batches_of(frames: Sequence[int], most: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the first utterance of each batch and the one after its last, for the frames of all utterances.

    They have `most` frames (default: BATCH_FRAMES) at most, unless a single utterance has more.
    """
    most = most or BATCH_FRAMES
    first = total = 0
    for u, own in enumerate(frames):
        if u > first and total + own > most:
            yield first, u
            first, total = u, 0
        total += own
    if first < len(frames):
        yield first, len(frames)


def in_order(
    batches: Iterable[ScoredBatch], decode: Callable[[StoredScores], T], pool: Executor | None, jobs: int
) -> Iterator[T]:
    """Yield what `decode` returns for every utterance in order, and remove each batch's file after its last.

    Args:
        batches: computed as they are asked for; those ahead are enough for all processes to have utterances to search.
        decode: called in the pool, or in this process where there is none.
        pool: of processes.
        jobs: their number.
    """
    begun: deque[tuple[ScoredBatch, list[Callable[[], T]]]] = deque()
    most = 1 if pool is None else 2 + math.ceil(jobs / JOBS_A_BATCH)

    def begin(scores: StoredScores) -> Callable[[], T]:
        return partial(decode, scores) if pool is None else pool.submit(decode, scores).result

    def finish() -> Iterator[T]:
        batch, waiting = begun.popleft()
        for result in waiting:
            yield result()
        batch.path.unlink()

    for batch in batches:
        begun.append((batch, [begin(scores) for scores in batch.utterances]))
        if len(begun) == most:
            yield from finish()
    while begun:
        yield from finish()
