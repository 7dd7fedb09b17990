"""M step and splitting of the mixtures (Kaldi: mle-diag-gmm.cc, mle-am-diag-gmm.cc, model-common.cc)."""

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from asr_parallel.hmm.gmm import DiagGmmSet

# MleDiagGmmOptions
MIN_GAUSSIAN_OCCUPANCY = 10.0  # frames; a component with fewer is removed
MIN_GAUSSIAN_WEIGHT = 1e-5
MIN_VARIANCE = 0.001
# gmm-est
PERTURB_FACTOR = 0.01  # shift of the means of a split component, in standard deviations
MIN_SPLIT_COUNT = 20.0  # mean number of frames a component that a mixture needs to be split further
POWER = 0.25  # train_mono.sh, train_deltas.sh: components of a pdf are proportional to its frames to this power


@dataclass
class GmmStats:
    """EM statistics: (G,) occupancies, (G, D) sums of x and of x^2, weighted by posteriors; float64.

    log_likelihood: sum over all frames (natural logarithm). frames: number of frames.
    """

    occupancy: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_likelihood: float = 0.0
    frames: int = 0

    @classmethod
    def zeros(cls, gmm: DiagGmmSet) -> "GmmStats":
        """Return empty statistics."""
        G, D = gmm.num_gauss, gmm.dim
        return cls(np.zeros(G), np.zeros((G, D)), np.zeros((G, D)))

    def pdf_occupancy(self, gmm: DiagGmmSet) -> np.ndarray:
        """Return (P,) frames of each pdf."""
        return np.add.reduceat(self.occupancy, gmm.offsets[:-1])


def update_gmm(gmm: DiagGmmSet, stats: GmmStats) -> DiagGmmSet:
    """Return the maximum-likelihood mixtures for the statistics.

    A component with too few frames or too little weight is removed; a pdf with no component left keeps the
    one with the largest occupancy, unchanged.
    """
    owner = gmm.pdf_of_gauss
    pdf_occupancy = stats.pdf_occupancy(gmm)
    weights = stats.occupancy / np.maximum(pdf_occupancy, 1e-10)[owner]
    enough = (stats.occupancy > MIN_GAUSSIAN_OCCUPANCY) & (weights > MIN_GAUSSIAN_WEIGHT)
    keep = enough.copy()
    for pdf in np.flatnonzero(np.add.reduceat(enough.astype(np.int64), gmm.offsets[:-1]) == 0):
        start, end = gmm.offsets[pdf], gmm.offsets[pdf + 1]
        largest = start + int(np.argmax(stats.occupancy[start:end]))
        keep[largest] = True
        weights[largest] = 1.0

    occupancy = np.where(enough, stats.occupancy, 1.0)[:, None]
    means = stats.first / occupancy
    variances = np.maximum(stats.second / occupancy - means**2, MIN_VARIANCE)
    means = np.where(enough[:, None], means, gmm.means.numpy())[keep]
    variances = np.where(enough[:, None], variances, gmm.variances.numpy())[keep]
    sizes = np.bincount(owner[keep], minlength=gmm.num_pdfs)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    weights = weights[keep] / np.repeat(np.add.reduceat(weights[keep], offsets[:-1]), sizes)
    w, m, v = (torch.from_numpy(array.astype(np.float32)) for array in (weights, means, variances))
    return DiagGmmSet(w, m, v, offsets)


def split_targets(pdf_occupancy: np.ndarray, target: int, power: float = POWER) -> np.ndarray:
    """Return the number of components of each pdf, (P,) int64, for `target` components in all.

    Components go one by one to the pdf with the largest occupancy**power / components, as long as each of its
    components would still have MIN_SPLIT_COUNT frames on average.
    """
    sizes = np.ones(len(pdf_occupancy), dtype=np.int64)
    queue = [(-(float(occupancy) ** power), pdf) for pdf, occupancy in enumerate(pdf_occupancy)]
    heapq.heapify(queue)
    missing = target - len(sizes)
    while missing > 0 and queue:
        _, pdf = heapq.heappop(queue)
        occupancy = float(pdf_occupancy[pdf])
        if (sizes[pdf] + 1) * MIN_SPLIT_COUNT >= occupancy:
            continue  # too few frames: do not split this pdf further
        sizes[pdf] += 1
        missing -= 1
        heapq.heappush(queue, (-(occupancy**power) / sizes[pdf], pdf))
    return sizes


def split_gmm(gmm: DiagGmmSet, pdf_occupancy: np.ndarray, target: int, rng: np.random.Generator) -> DiagGmmSet:
    """Split components up to about `target`, in each pdf always the one with the largest weight.

    Each half gets half the weight and the same variance; the means move apart by PERTURB_FACTOR standard deviations
    times a normal random vector. No pdf loses components.
    """
    sizes = np.maximum(split_targets(pdf_occupancy, target), np.diff(gmm.offsets))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    weights = np.empty(offsets[-1], dtype=np.float32)
    means = np.empty((offsets[-1], gmm.dim), dtype=np.float32)
    variances = np.empty_like(means)
    for pdf in range(gmm.num_pdfs):
        old = slice(gmm.offsets[pdf], gmm.offsets[pdf + 1])
        first, end = offsets[pdf], offsets[pdf + 1]
        filled = first + old.stop - old.start
        weights[first:filled] = gmm.weights[old].numpy()
        means[first:filled] = gmm.means[old].numpy()
        variances[first:filled] = gmm.variances[old].numpy()
        for new in range(filled, end):
            heaviest = first + int(np.argmax(weights[first:new]))
            weights[heaviest] /= 2
            weights[new] = weights[heaviest]
            variances[new] = variances[heaviest]
            shift = PERTURB_FACTOR * rng.standard_normal(gmm.dim) * np.sqrt(variances[heaviest])
            means[new] = means[heaviest] + shift
            means[heaviest] -= shift
    return DiagGmmSet(torch.from_numpy(weights), torch.from_numpy(means), torch.from_numpy(variances), offsets)
