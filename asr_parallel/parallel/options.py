"""Options of training together. Names as on the command line, where each is explained."""

import math
from dataclasses import dataclass

from asr_parallel.parallel.block_momentum import PRESETS
from asr_parallel.parallel.colearn import LOCAL_EPOCHS, THRESHOLD
from asr_parallel.parallel.elastic import BETA
from asr_parallel.parallel.ensemble import EXCHANGES, RELABEL_FRACTION
from asr_parallel.parallel.soft_labels import TOP
from asr_parallel.parallel.sync_info import DROP_WORSE, WEIGHTS
from asr_parallel.parallel.weighted_mean import COMM_DTYPES

ALGORITHMS = ("average", "block-momentum", "elastic", "gradient", "colearn", "ensemble", "none")
SHARES = ("utterance", "speaker")
OPTIMIZER_STATES = ("keep", "average", "reset")
ANY = frozenset({"average", "block-momentum", "elastic"})  # whose workers meet every so many minibatches


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What K workers do together. An option that the algorithm has no use for is refused unless it is left alone."""

    workers: int = 1  # K
    algorithm: str = "average"
    period: int | None = None  # minibatches between two synchronizations; the algorithm's own when not given
    share_by: str | None = None  # what a worker gets whole; speaker for colearn, else utterance
    sites: str | None = None  # file of speakers and their sites, which are workers
    weights: str = "frames"  # how much each counts in a mean
    best_first: int = 0  # meetings at first in which the best worker's model is taken, and no mean
    drop_worse: float = DROP_WORSE  # nats a frame above the best worker from which one is left out
    worker_lr_scale: float | None = (
        None  # a worker's learning rate over the effective one; the algorithm's when not given
    )
    optimizer_state: str | None = None  # at a meeting; reset for block-momentum, colearn with momentum, else keep
    outer: str = "bmuf-nesterov"  # constants of block-momentum
    outer_rate: float | None = None
    outer_momentum: float | None = None
    elastic_beta: float = BETA
    local_epochs: int = LOCAL_EPOCHS  # colearn's first round
    colearn_threshold: float = THRESHOLD
    relabel_fraction: float = RELABEL_FRACTION  # of ensemble, as all up to top; see parallel/ensemble.py
    compress_minibatches: int | None = None
    exchange: str = "models"
    top: int = TOP
    comm_dtype: str = "float32"
    overlap: bool = False
    ema: float = 0.0  # of the synchronized model, as the final one; 0: none
    fault_tolerant: bool = False  # go on without a lost process

    def check_workers(self) -> None:
        """ValueError naming an option out of range or of no use; an algorithm's constants check themselves."""
        known = {"algorithm": ALGORITHMS, "weights": WEIGHTS, "outer": tuple(PRESETS), "comm_dtype": COMM_DTYPES}
        known["exchange"] = EXCHANGES
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(values)}")
        for name, values in {"optimizer_state": OPTIMIZER_STATES, "share_by": SHARES}.items():
            if getattr(self, name) not in (None, *values):
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(values)}")
        if self.share_by is not None and self.sites is not None:
            raise ValueError("share_by and sites both say what a worker gets: expected one of them")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers}: expected a whole number of at least 1")
        if self.period is not None and self.period < 1:
            raise ValueError(f"period {self.period}: expected a whole number of at least 1")
        if not self.drop_worse > 0 or not 0 <= self.ema < 1:
            raise ValueError(f"drop_worse {self.drop_worse}, ema {self.ema}: expected above 0, and at least 0 below 1")
        for name in ("worker_lr_scale", "outer_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} {value}: expected a number above 0")
        if self.overlap and self.fault_tolerant:
            raise ValueError(
                "fault_tolerant and overlap: recovery starts from a finished synchronization; expected one of them"
            )
        self._check_use()

    def _check_use(self) -> None:
        default = WorkerOptions()
        users = {
            "period": ANY | {"ensemble"},
            "weights": {"average", "block-momentum", "colearn"},
            "best_first": {"average", "block-momentum", "colearn"},
            "drop_worse": ANY | {"colearn", "ensemble"},
            "optimizer_state": ANY | {"colearn"},
            "outer": {"block-momentum"},
            "outer_rate": {"block-momentum"},
            "outer_momentum": {"block-momentum"},
            "elastic_beta": {"elastic"},
            "local_epochs": {"colearn"},
            "colearn_threshold": {"colearn"},
            "relabel_fraction": {"ensemble"},
            "compress_minibatches": {"ensemble"},
            "exchange": {"ensemble"},
            "top": {"ensemble"},
            "comm_dtype": ANY | {"colearn"},
            "overlap": ANY | {"ensemble"},
            "ema": ANY | {"colearn", "gradient"},
            "fault_tolerant": ANY | {"colearn"},
        }
        for name, algorithms in users.items():
            if getattr(self, name) != getattr(default, name) and self.algorithm not in algorithms:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is of no use to algorithm {self.algorithm}, only to"
                    f" {', '.join(sorted(algorithms))}"
                )

    @property
    def shares(self) -> str:
        """What a worker gets whole, also when nothing was asked for."""
        return self.share_by or ("speaker" if self.algorithm == "colearn" else "utterance")

    def optimizer_state_at_sync(self, optimizer: str) -> str:
        """What happens to the optimiser's state at a meeting.

        Velocities are forgotten where CNTK's block momentum, SlowMo and co-learning start a round anew; elsewhere, and
        for every other optimiser, state is kept: what was measured is in recipes/swbd/RESULTS.md.
        """
        if self.optimizer_state is not None:
            return self.optimizer_state
        anew = self.algorithm in ("block-momentum", "colearn") and optimizer in ("momentum", "nesterov")
        return "reset" if anew else "keep"
