"""Questions for the tree, found by clustering the phones themselves (Kaldi: cluster-phones, compile-questions).

The phones are split in two to maximise the likelihood of two Gaussians, and each half again, down to single phones.
Every set in this hierarchy is a question: "is the neighbour one of these?".
"""

from collections.abc import Iterator

import numpy as np

from asr_parallel.hmm.tree_stats import TreeStats, log_likelihood, mean_and_variance

MIDDLE_STATE = 1  # train_deltas.sh clusters on the middle state of three, the least affected by neighbours
REFINE_PASSES = 20  # ClusterKMeansOptions: num_iters


def automatic_questions(stats: TreeStats) -> list[frozenset[int]]:
    """Return sets of phones, from all of them down to single ones, without unseen phones."""
    usable = stats.hmm_states == MIDDLE_STATE
    phones = np.unique(stats.contexts[usable, 1])
    moments = np.stack([stats.moments[usable & (stats.contexts[:, 1] == phone)].sum(0) for phone in phones])
    return [frozenset(phones[group].tolist()) for group in _clusters(np.arange(len(phones)), moments)]


def _clusters(group: np.ndarray, moments: np.ndarray) -> Iterator[np.ndarray]:
    """Yield `group` (indices into moments), its halves, their halves, ..."""
    yield group
    if len(group) > 1:
        first = _halve(moments[group])
        yield from _clusters(group[first], moments)
        yield from _clusters(group[~first], moments)


def _halve(moments: np.ndarray) -> np.ndarray:
    """Return which rows make up the first of two clusters, (N,) bool; neither cluster is empty.

    Starts from the best cut along the direction in which the means vary most, then moves single rows for as long as
    that raises the likelihood.
    """
    means, variances = mean_and_variance(moments)
    scaled = means / np.sqrt(variances.mean(0))
    along = np.linalg.svd(scaled - scaled.mean(0), full_matrices=False)[2][0]
    order = np.argsort(scaled @ along, kind="stable")
    running = np.cumsum(moments[order], axis=0)
    gains = log_likelihood(running[:-1]) + log_likelihood(running[-1] - running[:-1])
    first = np.zeros(len(moments), dtype=bool)
    first[order[: int(np.argmax(gains)) + 1]] = True
    for _ in range(REFINE_PASSES):
        if not _refine(moments, first):
            break
    return first


def _refine(moments: np.ndarray, first: np.ndarray) -> bool:
    """Move each row to the cluster it fits better, in place; True when any moved."""
    moved = False
    for row in range(len(moments)):
        own = first == first[row]
        if own.sum() == 1:
            continue
        mine, other = moments[own].sum(0), moments[~own].sum(0)
        stay = log_likelihood(mine) + log_likelihood(other)
        go = log_likelihood(mine - moments[row]) + log_likelihood(other + moments[row])
        if go > stay + 1e-6 * abs(stay):  # rounding must not make a row go back and forth
            first[row] = ~first[row]
            moved = True
    return moved
