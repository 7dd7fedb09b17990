"""Differences between two ways of training, from trainings with common seeds: interval, test, and equivalence.

The bootstrap of a difference in word error rate draws speakers and seeds, each with replacement and alike for both
systems; with two such factors its variance is, if anything, too large (A. Owen, "The pigeonhole bootstrap", Annals of
Applied Statistics 2007). From S speakers and n seeds S - 1 and n - 1 are drawn, so that the variance of a mean has no
bias (J. Rao, C. Wu, "Resampling inference with complex survey data", JASA 1988); draws of S and n would have
(S - 1) / S and (n - 1) / n of it. The interval is Student's, as draws from a few seeds have no tails; its degrees of
freedom are those of F. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
1946. Definitions and interpretation: docs/significance.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from asr_parallel.decode.significance import CONFIDENCE, RESAMPLES, resampled_rates

LEVEL = 0.05  # of all tests here
ROUNDING = 1e-9  # of a difference's values: a deviation below it is 0
Verdict = Literal["equivalent", "better", "worse", "no difference found"]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference of one system's values from another's, of trainings with the same seeds.

    difference: below 0 where the system's values are the lower ones.
    deviation: standard error; freedom: its degrees of freedom.
    seeds: number of pairs of trainings. With one the difference is of these two trainings and says nothing of others.
    """

    difference: float
    deviation: float
    freedom: float
    seeds: int

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the ends of the confidence interval."""
        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.deviation
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided probability of a difference as large where there is none; 1 where all values differ by as much."""
        if not self.deviation:
            return 1.0
        return min(1.0, 2 * float(stdtr(self.freedom, -abs(self.difference) / self.deviation)))

    def is_within(self, margin: float) -> bool:
        """Return whether the difference is less than a margin, by two one-sided tests at 5 % each.

        This is so if the 90 % interval lies between -margin and margin. D. Schuirmann, "A comparison of the two
        one-sided tests procedure and the power approach", J. Pharmacokinetics and Biopharmaceutics 1987.
        """
        low, high = self.interval(1 - 2 * LEVEL)
        return -margin < low and high < margin


def wer_difference(own: np.ndarray, base: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> PairedDifference:
    """Return the difference in word error rate from a base, by bootstrap over speakers and seeds, in percent of words.

    The same counts always have the same result; with own and base exchanged it is the same with the other sign. Of
    one seed, speakers alone are drawn.

    Args:
        own, base: (n, S, 2) errors and words by seed and speaker; the seeds and speakers of both in the same order.

    Raises:
        ValueError: unlike shapes, fewer than two speakers, or resamples < 1.
    """
    if own.shape != base.shape or own.shape[1] < 2:
        raise ValueError(f"counts of shapes {own.shape} and {base.shape}: expected the same, of at least 2 speakers")
    seeds, speakers, _ = own.shape
    rates = resampled_rates(np.concatenate([own, base]), resamples, seed, drawn=speakers - 1)
    by_seed = rates[:seeds] - rates[seeds:]  # (n, resamples)
    each = _rates(own) - _rates(base)  # (n,)
    if seeds == 1:
        return PairedDifference(float(each[0]), _deviation(np.nanvar(by_seed[0])), speakers - 1, 1)
    drawn = np.random.default_rng([seed, 1]).multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples)
    both = np.nanvar((drawn.T * by_seed).sum(axis=0) / (seeds - 1))
    parts = [(np.nanvar(by_seed.mean(axis=0)), speakers - 1), (each.var(ddof=1) / seeds, seeds - 1)]
    return PairedDifference(float(each.mean()), _deviation(both), _freedom(parts), seeds)


def mean_difference(own: Sequence[float], base: Sequence[float]) -> PairedDifference | None:
    """Return the mean difference of values by seed, such as losses, from those of a base; None of fewer than two."""
    each = np.subtract(own, base)
    if len(each) < 2:
        return None
    return PairedDifference(float(each.mean()), _deviation(each.var(ddof=1) / len(each)), len(each) - 1, len(each))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, so that at most 5 % of all reports have a wrong one below 5 %.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def verdict(found: PairedDifference, margin: float, corrected_p: float) -> Verdict:
    """Return what may be said of a difference in errors; "no difference found" does not say that there is none.

    Args:
        margin: a difference of this size, in the same units, does not matter.
        corrected_p: see `holm`.
    """
    if found.is_within(margin):
        return "equivalent"
    if corrected_p >= LEVEL:
        return "no difference found"
    return "better" if found.difference < 0 else "worse"


def _rates(counts: np.ndarray) -> np.ndarray:
    """Return (n,) word error rates of (n, S, 2) errors and words, percent."""
    errors, words = counts.sum(axis=1).T
    rates: np.ndarray = 100.0 * errors / words
    return rates


def _deviation(variance: float) -> float:
    deviation = math.sqrt(variance)
    return deviation if deviation > ROUNDING else 0.0


def _freedom(parts: Sequence[tuple[float, int]]) -> float:
    """Return the degrees of freedom of a sum of variances, from (variance, degrees of freedom) of each."""
    whole = sum(variance for variance, _ in parts)
    if whole <= ROUNDING**2:
        return float(min(freedom for _, freedom in parts))
    return float(whole**2 / sum(variance**2 / freedom for variance, freedom in parts))
