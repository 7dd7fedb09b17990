"""Model averaging."""

from dataclasses import dataclass

from asr_parallel.parallel.algorithm import ALL_OPTIONS, Algorithm
from asr_parallel.parallel.registry import register
from asr_parallel.record.options import option


@dataclass(frozen=True)
class AverageOptions:
    """Options of model averaging."""

    period: int = option(
        16, "minibatches of a worker between two synchronizations", least=1,
        source='Su & Chen: "every few minibatches"; ours',
    )  # fmt: skip


@register(
    "average",
    options=AverageOptions,
    paper="Su & Chen, arXiv 1507.01239; Povey et al., arXiv 1410.7455",
    rule="every worker goes on from the mean of all models",
    use="first choice: robust, few constants",
)
class Average(Algorithm):
    """Model averaging (Su & Chen, arXiv 1507.01239; Povey, Zhang & Khudanpur, arXiv 1410.7455; "MA-DNN").

    name        symbol
    period      tau     minibatches between two averages
    weights     n_k     by frames since the last average: a worker that has run out of data no longer pulls the others
                        back; or equal
    parameters  w_k     w_k <- sum_k n_k w_k / sum_k n_k

    Averaging K models divides what each has learnt by K, so the learning rate is K times the effective one (Kaldi's
    --num-jobs; the effective rate is what options and logs name).

    Limits on a step (nnet/optimizer.py) are of each worker's minibatch and do not grow with K: the more workers, the
    less they leave of a K-fold step. What they leave is in train.jsonl, max_change_scale. How many workers a training
    bears depends on the rate, the limits and the optimiser together.
    """

    own_initial_models = True
    can_take_back_epochs = True
    lr_scales_with_workers = True
    supports = ALL_OPTIONS | {"sync_first", "qsr_alpha", "workers_first"}
