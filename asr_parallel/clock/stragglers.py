"""Stragglers: the time until the last of K workers is ready."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

POINTS = 4001  # of the numerical integral: right to 1e-6
DEVIATIONS = 10  # beyond which nothing is expected, of 1e9 workers neither


@dataclass(frozen=True, slots=True)
class Stragglers:
    """The spread of workers' speeds, because of which they do not come to a synchronization at once.

    jitter: standard deviation of a minibatch's time, relative to its mean; each minibatch's is its own.
    speeds: of each worker, 1 that of the worker that was measured; None: all are as fast as that one.
    """

    jitter: float = 0.0
    speeds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when out of range."""
        if not 0 <= self.jitter < np.inf:
            raise ValueError(f"jitter {self.jitter}: expected at least 0")
        if self.speeds is not None and (not self.speeds or not all(0 < speed < np.inf for speed in self.speeds)):
            raise ValueError(f"speeds {self.speeds}: expected numbers above 0")

    def minibatches(self, workers: int, count: float) -> tuple[float, float]:
        """Return the time of so many minibatches, in units of a minibatch's mean: mean and last of K workers.

        The time of `count` minibatches has mean count / speed and deviation jitter sqrt(count) / speed, and is taken as
        log-normal (for a sum of such: Fenton, "The sum of log-normal probability distributions in scatter transmission
        systems", 1960). The expected greatest of K independent ones is the integral of x d(F_1(x) ... F_K(x)), found
        numerically: nothing is drawn.

        Raises:
            ValueError: there are not as many speeds as workers.
        """
        if self.speeds is not None and len(self.speeds) != workers:
            raise ValueError(f"{len(self.speeds)} speeds for {workers} workers: expected one each")
        speeds, times = np.unique(self.speeds or (1.0,), return_counts=True)
        if self.speeds is None:
            times[:] = workers
        means = count / speeds
        mean = float((times * means).sum() / workers)
        if self.jitter == 0 or workers == 1:
            return mean, float(means.max())
        variance = np.log1p(self.jitter**2 / count)  # of the logarithm
        sigma, mu = np.sqrt(variance), np.log(means) - variance / 2
        edges = np.linspace(mu.min() - DEVIATIONS * sigma, mu.max() + DEVIATIONS * sigma, POINTS)
        below = np.prod(ndtr((edges - mu[:, None]) / sigma) ** times[:, None], axis=0)
        middles = np.exp((edges[1:] + edges[:-1]) / 2)
        return mean, max(mean, float((middles * np.diff(below)).sum()))
