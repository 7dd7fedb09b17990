"""The algorithms by their names."""

from dataclasses import replace

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.average import PERIOD as AVERAGING_PERIOD
from asr_parallel.parallel.average import Average
from asr_parallel.parallel.block_momentum import PERIOD as BLOCK_PERIOD
from asr_parallel.parallel.block_momentum import PRESETS, BlockMomentum
from asr_parallel.parallel.colearn import CoLearning
from asr_parallel.parallel.elastic import PERIOD as ELASTIC_PERIOD
from asr_parallel.parallel.elastic import Elastic
from asr_parallel.parallel.ensemble import Ensemble
from asr_parallel.parallel.gradient import Gradient
from asr_parallel.parallel.isolated import Isolated
from asr_parallel.parallel.options import ALGORITHMS, WorkerOptions
from asr_parallel.parallel.sync_info import WorkerWeights


def algorithm(options: WorkerOptions, epochs: int = 1, exact: bool = False) -> Algorithm:
    """The algorithm that the options name, ValueError for another or for constants out of range.

    Args:
        epochs: of the whole training.
        exact: whether means are formed in fixed point, see parallel/weighted_mean.py.
    """
    name, comm_dtype = options.algorithm, "exact" if exact else options.comm_dtype
    weighing = WorkerWeights(options.weights, options.best_first)
    if name == "average":
        return Average(options.period or AVERAGING_PERIOD, weighing, comm_dtype, options.overlap)
    if name == "block-momentum":
        outer = PRESETS[options.outer]
        if options.outer_rate is not None:
            outer = replace(outer, rate=options.outer_rate)
        if options.outer_momentum is not None:
            outer = replace(outer, momentum=options.outer_momentum)
        return BlockMomentum(outer, options.period or BLOCK_PERIOD, weighing, comm_dtype, options.overlap)
    if name == "elastic":
        return Elastic(options.elastic_beta, options.period or ELASTIC_PERIOD, comm_dtype, options.overlap)
    if name == "gradient":
        return Gradient()
    if name == "colearn":
        return CoLearning(epochs, options.local_epochs, options.colearn_threshold, weighing, comm_dtype)
    if name == "ensemble":
        return Ensemble(
            options.period, options.relabel_fraction, options.compress_minibatches, options.exchange, options.top,
            options.overlap,
        )  # fmt: skip
    if name == "none":
        return Isolated(comm_dtype)
    raise ValueError(f"unknown algorithm {name!r}; expected one of {', '.join(ALGORITHMS)}")
