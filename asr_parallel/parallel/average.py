"""Model averaging."""

import numpy as np

from asr_parallel.parallel.algorithm import Algorithm, Replicas, mean

PERIOD = 16  # minibatches; Su & Chen average "every few minibatches"; see recipes/swbd/RESULTS.md


class Average(Algorithm):
    """Model averaging (Su & Chen, arXiv 1507.01239; Povey, Zhang & Khudanpur, arXiv 1410.7455; "MA-DNN").

    name        symbol
    period      tau     minibatches between two averages
    frames      n_k     weights: workers count by the frames since the last average, so that one which has run out of
                        data no longer pulls the others back
    parameters  w_k     w_k <- sum_k n_k w_k / sum_k n_k

    Averaging K models divides what each has learnt by K, so the learning rate is K times the effective one (Kaldi's
    --num-jobs; the effective rate is what options and logs name).
    """

    def __init__(self, period: int = PERIOD, exact: bool = False) -> None:
        super().__init__(period, exact)

    def rate_factor(self, num_workers: int) -> int:
        return num_workers

    def synchronize(self, replicas: Replicas, frames: np.ndarray) -> None:
        if self.team.num_workers == 1 or not frames.any():
            return
        replicas.parameters.copy_(mean(self.team, replicas.parameters, frames, self.exact))
        replicas.parameters_changed()
