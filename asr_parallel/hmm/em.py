"""Accumulation of EM statistics for fixed alignments, and Viterbi realignment. Both run in threads.

The expensive parts (matrix products, log-sum-exp, Viterbi) release the GIL. One thread computes each block, and the
results are added in a fixed order, so the result does not depend on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.gmm import DiagGmmSet, expand
from asr_parallel.hmm.gmm_update import GmmStats
from asr_parallel.hmm.training_graph import TrainingGraph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.viterbi import best_path
from asr_parallel.record.progress_bar import progress
from asr_parallel.record.threads import single_thread_pool

# steps/train_mono.sh and train_deltas.sh: --transition-scale=1.0 --acoustic-scale=0.1 --self-loop-scale=0.1
TRANSITION_SCALE = 1.0
ACOUSTIC_SCALE = 0.1
SELF_LOOP_SCALE = 0.1
RETRY_FACTOR = 4.0  # beam 10, retry beam 40
BLOCK_FRAMES = 4096  # frames of one pdf that are summed in float32; the sums of blocks are added in float64

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class GmmHmm:
    """GMMs and transition model during training."""

    gmm: DiagGmmSet
    transitions: TransitionModel


@dataclass(frozen=True)
class AlignmentResult:
    """Alignments of a list of utterances.

    tids: transition ids of each, None where alignment failed. retried: utterances that needed the wider beam.
    """

    tids: list[np.ndarray | None]
    retried: int

    @property
    def num_failed(self) -> int:
        return sum(t is None for t in self.tids)


def threaded(function: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[R]:
    """Yield function(item) for each item, in order, computed in `jobs` threads."""
    with single_thread_pool(jobs) as pool:
        yield from pool.map(function, items)


class FramesOfPdfs:
    """The frames of each pdf, for alignments that stay fixed over several iterations.

    Frame numbers index the whole archive; utterances without an alignment are left out.
    """

    def __init__(
        self, archive: FeatureArchive, utterances: Sequence[int], aligned: AlignmentResult, transitions: TransitionModel
    ) -> None:
        pairs = [(u, tids) for u, tids in zip(utterances, aligned.tids, strict=True) if tids is not None]
        frames = [np.arange(archive.offsets[u], archive.offsets[u + 1]) for u, _ in pairs]
        all_tids = np.concatenate([np.empty(0, dtype=np.int32), *(tids for _, tids in pairs)])
        pdfs = transitions.pdf_of[all_tids]
        order = np.argsort(pdfs, kind="stable")
        self.tid_counts = np.bincount(all_tids, minlength=transitions.num_transition_ids + 1)
        self._frames = np.concatenate([np.empty(0, dtype=np.int64), *frames])[order]
        self._offsets = np.concatenate([[0], np.cumsum(np.bincount(pdfs, minlength=transitions.num_pdfs))])
        self._archive = archive

    def blocks(self) -> list[tuple[int, np.ndarray]]:
        """Return (pdf, frame numbers) pairs of at most BLOCK_FRAMES frames."""
        return [
            (pdf, self._frames[start : min(start + BLOCK_FRAMES, end)])
            for pdf, (first, end) in enumerate(zip(self._offsets[:-1], self._offsets[1:], strict=True))
            for start in range(first, end, BLOCK_FRAMES)
        ]

    def accumulate(self, gmm: DiagGmmSet, jobs: int) -> GmmStats:
        """Run the expectation step: return the statistics of all frames, each under the mixture of its own pdf."""

        def one(block: tuple[int, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray, float]:
            pdf, numbers = block
            expanded = expand(self._archive.frames[numbers])
            scores = gmm.component_scores(expanded, slice(gmm.offsets[pdf], gmm.offsets[pdf + 1]))
            totals = torch.logsumexp(scores, dim=1, keepdim=True)
            posteriors = torch.exp(scores - totals)
            moments = posteriors.T @ expanded
            return (
                pdf,
                posteriors.sum(0, dtype=torch.float64).numpy(),
                moments.numpy(),
                float(totals.sum(dtype=torch.float64)),
            )

        stats = GmmStats.zeros(gmm)
        for pdf, occupancy, moments, log_likelihood in threaded(one, self.blocks(), jobs):
            components = slice(gmm.offsets[pdf], gmm.offsets[pdf + 1])
            stats.occupancy[components] += occupancy
            stats.first[components] += moments[:, : gmm.dim]
            stats.second[components] += moments[:, gmm.dim :]
            stats.log_likelihood += log_likelihood
        stats.frames = len(self._frames)
        return stats


def align_utterances(
    archive: FeatureArchive,
    utterances: Sequence[int],
    graphs: Sequence[TrainingGraph],
    model: GmmHmm,
    beam: float,
    jobs: int,
    pdf_offset: np.ndarray | None = None,
) -> AlignmentResult:
    """Return the Viterbi alignment of each utterance; failures are retried with a beam 4 times as wide.

    Args:
        utterances: their indices in the archive.
        graphs: their training graphs, in the same order.
        pdf_offset: (num_pdfs,) float32 added to the log-likelihoods (Kaldi's boost of silence).
    """
    transitions = model.transitions
    log_prob = transitions.scaled_log_prob(TRANSITION_SCALE, SELF_LOOP_SCALE)
    _ = model.gmm.linear  # fill the cache before the threads start

    def one(item: tuple[int, TrainingGraph]) -> tuple[np.ndarray | None, bool]:
        u, graph = item
        pdfs = np.unique(transitions.tuples[graph.transition_state, 2])
        scores = model.gmm.log_likelihoods(archive[u], pdfs)
        if pdf_offset is not None:
            scores += pdf_offset[pdfs]
        scores *= np.float32(ACOUSTIC_SCALE)
        columns = np.zeros(transitions.num_pdfs, dtype=np.int32)
        columns[pdfs] = np.arange(len(pdfs))
        for width in (beam, beam * RETRY_FACTOR):
            path = best_path(graph, transitions, log_prob, scores, columns, width)
            if path is not None:
                return path.tids, width != beam
        return None, True

    paths = threaded(one, zip(utterances, graphs, strict=True), jobs)
    found = list(progress(paths, "aligning", total=len(graphs), unit="utterances"))
    return AlignmentResult([tids for tids, _ in found], sum(retried for _, retried in found))
