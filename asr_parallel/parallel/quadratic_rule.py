"""The quadratic synchronization rule: periods that grow as the learning rate falls."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuadraticRule:
    """The quadratic synchronization rule (QSR).

    Gu, Lyu, Arora, Zhang & Huang, "A Quadratic Synchronization Rule for Distributed Deep Learning", arXiv 2310.14423.

    name        symbol
    period      H_base      least minibatches of a worker between two synchronizations
    alpha       alpha       their growth
    rate        eta_t       the learning rate at the first minibatch of a round
    round       H^(s)       max(H_base, floor((alpha / eta_t)^2)), the minibatches of round s
    frames                  of a worker's minibatch; 1 where rates are per minibatch

    Synchronizing less often at a low rate is to lead to flatter minima, and costs less. The paper's AdamW has alpha
    0.0175 with a peak rate of 0.008 and H_base 4: alpha is about the peak rate times the root of H_base.

    The paper's rate is of a worker's steps along the mean gradient of its minibatch. A rate per frame is of steps along
    the sum, so eta_t is the worker's rate per frame times the frames of a minibatch. The worker's rate is the effective
    one times the worker learning-rate scale.
    """

    alpha: float
    frames: int = 1

    def round(self, period: int, rate: float) -> int:
        """Return the minibatches of a round that begins at a worker's learning rate."""
        assert rate > 0, rate
        return max(period, math.floor((self.alpha / (rate * self.frames)) ** 2))

    def rounds(self, period: int, rate: Callable[[int], float], first: int, end: int) -> list[int]:
        """Return the lengths of the rounds in a part of a training; its end cuts the last one.

        Args:
            rate: of a worker after so many of its minibatches.
            first, end: minibatches of a worker where the part begins and ends.
        """
        found: list[int] = []
        while first < end:
            found.append(min(self.round(period, rate(first)), end - first))
            first += found[-1]
        return found
