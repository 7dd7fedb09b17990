"""What K workers do to each other's models, in three verbs: start, synchronize, finish."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.team import Team

FIXED_POINT, LARGEST = 2.0**-40, 2.0**20  # what exact means can hold


class Replicas(Protocol):
    """The models of a process's workers, a row each of one flat float32 buffer: a StackedNetwork or a StackedRbm."""

    @property
    def parameters(self) -> Tensor:
        """(R, P) float32, in the order of Team.own."""

    def parameters_changed(self) -> None:
        """To be called after writing to `parameters`."""


class Algorithm:
    """A way to train together. Everything is called by all processes alike.

    period: minibatches of a worker between two synchronizations (the averaging period, tau); None: never.
    exact: whether means are formed in fixed point, twice the bytes, and so come out the same, bit for bit, in any
        number of processes. For models with sampling in them, where a rounding error may turn a unit over.
    """

    def __init__(self, period: int | None, exact: bool = False) -> None:
        """ValueError: a period below 1."""
        if period is not None and period < 1:
            raise ValueError(f"averaging period {period}: expected at least 1 minibatch")
        self.period, self.exact = period, exact

    def rate_factor(self, num_workers: int) -> int:
        """By what a worker's learning rate is above the effective one."""
        return 1

    def start(self, replicas: Replicas, team: Team) -> None:
        """Take the models as they are before the first minibatch, equal in all workers."""
        self.team = team

    def synchronize(self, replicas: Replicas, frames: np.ndarray) -> None:
        """Let the workers' models meet.

        Args:
            frames: (K,) each of all workers has trained on since the last time; 0 for one that has run out of data.
        """
        raise NotImplementedError

    def consensus(self, replicas: Replicas) -> Tensor:
        """(P,) the model that all of them together stand for now, for the caller to read; nothing is changed."""
        return mean(self.team, replicas.parameters, np.ones(self.team.num_workers), self.exact)

    def finish(self, replicas: Replicas) -> Tensor:
        """(P,) the final model."""
        return self.consensus(replicas)

    def shared_state(self) -> Mapping[str, Tensor]:
        """All state that is the same in every process, by name; no copies."""
        return {}

    def worker_state(self) -> Mapping[str, Tensor]:
        """All state of single workers, (R, ...) each, by name; no copies."""
        return {}


def mean(team: Team, values: Tensor, weights: np.ndarray, exact: bool = False) -> Tensor:
    """(P,) weighted mean over all workers, the same bits in every process.

    Args:
        values: (R, P) of this process's workers.
        weights: (K,) of all workers, not negative, not all 0.
        exact: sum integers, which rounds nothing; the mean is right to FIXED_POINT, and NaN from LARGEST on.
    """
    assert len(weights) == team.num_workers and weights.sum() > 0
    if team.num_workers == 1:
        return values[0]
    own = (weights / weights.sum())[team.own.start : team.own.stop]
    if exact:
        fixed = torch.zeros(values.shape[1] + 1, dtype=torch.int64, device=values.device)
        for value, weight in zip(values, own.tolist(), strict=True):
            fixed[:-1] += (value.double() * (weight / FIXED_POINT)).nan_to_num(0, 0, 0).round_().long()
            fixed[-1] += (~(value.abs() < LARGEST)).sum()
        team.transport.sum(fixed)
        result = (fixed[:-1].double() * FIXED_POINT).to(values.dtype)
        return result.masked_fill(fixed[-1] > 0, torch.nan)
    total = torch.zeros_like(values[0])
    for value, weight in zip(values, own.tolist(), strict=True):
        total.add_(value, alpha=weight)
    team.transport.sum(total)
    return total
