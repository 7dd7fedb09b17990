"""Statistics for building the tree: a Gaussian for each HMM state of each triphone seen (Kaldi: acc-tree-stats)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.segments import phone_segments
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.compiled import njit

VARIANCE_FLOOR = 0.01  # acc-tree-stats --var-floor


@dataclass(frozen=True)
class TreeStats:
    """E states in context.

    contexts (E, 3): phone before, phone, phone after; 0 where there is none. hmm_states (E,).
    moments (E, 1 + 2 D) float64: frames, sum of x, sum of x^2.
    """

    contexts: np.ndarray
    hmm_states: np.ndarray
    moments: np.ndarray

    @classmethod
    def accumulate(
        cls,
        archive: FeatureArchive,
        utterances: Sequence[int],
        alignments: Sequence[np.ndarray],
        transitions: TransitionModel,
        context_free_phones: Sequence[int],
    ) -> "TreeStats":
        """Return the statistics of some utterances; context-free phones are accumulated without neighbours."""
        tids = np.concatenate(alignments)
        segments = phone_segments(tids, np.cumsum([0, *(len(a) for a in alignments)]), transitions)
        free = np.isin(segments.phone, context_free_phones)
        windows = [np.where(free, 0, segments.left), segments.phone, np.where(free, 0, segments.right)]
        base = int(max(segments.phone)) + 1
        key = segments.per_frame((windows[0].astype(np.int64) * base + windows[1]) * base + windows[2])
        states = max(len(s) for s in transitions.topology.phones.values())
        keys, row_of_frame = np.unique(key * states + transitions.hmm_state_of[tids], return_inverse=True)
        moments = np.zeros((len(keys), 1 + 2 * archive.dim))
        done = 0
        for u in utterances:
            frames = archive[u]
            _add_moments(frames, row_of_frame[done : done + len(frames)], moments)
            done += len(frames)
        triples, hmm_states = keys // states, keys % states
        contexts = np.stack([triples // base**2, triples // base % base, triples % base], axis=1)
        return cls(contexts, hmm_states, moments)

    def of_pdfs(self, tree: Tree) -> np.ndarray:
        """Return (num_pdfs, 1 + 2 D): the moments summed over each pdf of a triphone tree."""
        sums = np.zeros((tree.num_pdfs, self.moments.shape[1]))
        for context, state, moments in zip(self.contexts.tolist(), self.hmm_states.tolist(), self.moments, strict=True):
            sums[tree.pdf(context, state)] += moments
        return sums


@njit(nogil=True)
def _add_moments(frames: np.ndarray, rows: np.ndarray, moments: np.ndarray) -> None:
    D = frames.shape[1]
    for t in range(len(frames)):
        row = moments[rows[t]]
        row[0] += 1.0
        for d in range(D):
            x = np.float64(frames[t, d])
            row[1 + d] += x
            row[1 + D + d] += x * x


def mean_and_variance(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert (..., 1 + 2 D) moments to means and floored variances, (..., D) each; no data give 0 and the floor."""
    D = moments.shape[-1] // 2
    count = np.maximum(moments[..., :1], 1e-10)
    mean = moments[..., 1 : D + 1] / count
    return mean, np.maximum(moments[..., D + 1 :] / count - mean**2, VARIANCE_FLOOR)


def log_likelihood(moments: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of data under its own Gaussian, (..., 1 + 2 D) -> (...); 0 for no data."""
    variance = mean_and_variance(moments)[1]
    D = variance.shape[-1]
    return -0.5 * moments[..., 0] * (D * (1.0 + math.log(2 * math.pi)) + np.log(variance).sum(-1))
