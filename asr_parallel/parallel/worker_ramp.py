"""A number of workers that grows during the training, as Kaldi's number of jobs does."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerRamp:
    """The number of workers that train, by how many minibatches each of the first ones has had.

    Kaldi steps/libs/nnet3/train/common.py, get_current_num_jobs (--trainer.optimization.num-jobs-initial, -final).

    name        symbol
    first, last a, b    workers at the beginning and at the end
    turns       N       2 M / (a + b), for M minibatches in the training: (a + b) / 2 workers train on average
    at          m(t)    floor(a + (b - a) t / N + 1/2)

    A turn is a minibatch here and an iteration there, in which every job has one archive; so models are averaged once
    an iteration there, and every period here, between two of which the number of workers may grow.
    """

    first: int
    last: int

    def at(self, turn: int, turns: float) -> int:
        """Return the workers that train in a turn, from 0 on; `last` from the end of all turns on."""
        return min(self.last, math.floor(self.first + (self.last - self.first) * turn / turns + 0.5))

    def turns(self, minibatches: int) -> float:
        """Return the turns in which so many minibatches are trained on."""
        return 2 * minibatches / (self.first + self.last)

    @property
    def mean(self) -> float:
        """Mean number of workers over the turns."""
        return (self.first + self.last) / 2

    def frame_shares(self) -> dict[int, float]:
        """Return the share of a training's frames that so many workers train on together; they sum up to 1."""
        if self.first == self.last:
            return {self.last: 1.0}
        steps = self.last - self.first
        turns = {m: (0.5 if m in (self.first, self.last) else 1.0) / steps for m in range(self.first, self.last + 1)}
        return {m: share * m / self.mean for m, share in turns.items()}
