"""Options of what workers do together."""

import argparse
from functools import partial
from typing import TYPE_CHECKING

from asr_parallel.cli.options import add_choice, add_number

if TYPE_CHECKING:
    from asr_parallel.parallel.options import WorkerOptions


def add_arguments(parser: argparse.ArgumentParser, default: "WorkerOptions") -> None:
    """One of each of WorkerOptions."""
    from asr_parallel.parallel.block_momentum import PRESETS
    from asr_parallel.parallel.ensemble import EXCHANGES
    from asr_parallel.parallel.options import ALGORITHMS, OPTIMIZER_STATES, SHARES
    from asr_parallel.parallel.sync_info import WEIGHTS
    from asr_parallel.parallel.weighted_mean import COMM_DTYPES

    number, choice = partial(add_number, default), partial(add_choice, default)

    workers = parser.add_argument_group("workers; the result depends on their number, not on that of processes")
    number(workers, "workers", "models that train on a share of the data each")
    choice(workers, "algorithm", ALGORITHMS, "what they do to each other's models")
    number(workers, "period", "minibatches of a worker between two synchronizations (default: the algorithm's)")
    choice(workers, "share_by", SHARES, "what a worker gets whole (default: utterance; colearn: speaker)")
    sites = "lines 'SPEAKER SITE': every worker is a site and gets what its speakers said"
    workers.add_argument("--sites", metavar="FILE", help=sites)
    number(
        workers, "worker_lr_scale", "workers' learning rate over the effective one (default: the algorithm's)", float
    )

    meetings = parser.add_argument_group("meetings of workers")
    choice(meetings, "weights", WEIGHTS, "by which workers count in a mean")
    number(meetings, "best_first", "meetings at first in which the best worker's model is taken, and no mean")
    number(meetings, "drop_worse", "nats a frame: a worker so much worse than the best is left out", float)
    kept = "momentum and Fisher estimates at a meeting (default: keep; momentum is reset by block-momentum, colearn)"
    choice(meetings, "optimizer_state", OPTIMIZER_STATES, kept)
    choice(meetings, "comm_dtype", COMM_DTYPES, "what models travel as; integers carry over what rounding left")
    flag = argparse.BooleanOptionalAction
    meetings.add_argument("--overlap", action=flag, default=False, help="train on meanwhile; means come one round late")
    number(meetings, "ema", "final model: moving average that keeps this part of itself at a meeting; 0: none", float)
    fault_tolerant = "go on without a lost process; its workers move to the others"
    meetings.add_argument("--fault-tolerant", action=flag, default=False, help=fault_tolerant)

    constants = parser.add_argument_group("constants of algorithms")
    choice(constants, "outer", tuple(PRESETS), "block-momentum: its outer optimiser")
    number(constants, "outer_rate", "block-momentum: learning rate (default: --outer's)", float)
    number(constants, "outer_momentum", "block-momentum: momentum (default: --outer's; bmuf: 1 - 1/K)", float)
    number(constants, "elastic_beta", "elastic: K times the part of its way to the centre that a worker goes", float)
    number(constants, "relabel_fraction", "ensemble: part of a share that is relabelled in a round", float)
    compress = "ensemble: of a round, on pseudo-labels too (default: those relabelled)"
    number(constants, "compress_minibatches", compress)
    choice(constants, "exchange", EXCHANGES, "ensemble: what travels; posteriors: of frames that all label alike")
    number(constants, "top", "ensemble: pdfs of a frame that pseudo-labels keep")
    number(constants, "local_epochs", "colearn: of the first rounds")
    threshold = "colearn: relative change of the average up to which local epochs are doubled; 0: never"
    number(constants, "colearn_threshold", threshold, float)
