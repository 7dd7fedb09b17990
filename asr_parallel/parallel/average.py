"""Model averaging."""

from asr_parallel.parallel.algorithm import Algorithm

PERIOD = 16  # minibatches; Su & Chen average "every few minibatches"; see recipes/swbd/RESULTS.md


class Average(Algorithm):
    """Model averaging (Su & Chen, arXiv 1507.01239; Povey, Zhang & Khudanpur, arXiv 1410.7455; "MA-DNN").

    name        symbol
    period      tau     minibatches between two averages
    weights     n_k     by frames since the last average: a worker that has run out of data no longer pulls the others
                        back; or equal
    parameters  w_k     w_k <- sum_k n_k w_k / sum_k n_k

    Averaging K models divides what each has learnt by K, so the learning rate is K times the effective one (Kaldi's
    --num-jobs; the effective rate is what options and logs name).
    """

    def rate_factor(self, num_workers: int) -> float:
        return float(num_workers)
