"""Options of workers, and those of the algorithms from the registry."""

from dataclasses import dataclass, fields
from typing import Any

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.comm_dtypes import COMM_DTYPES, SUMS
from asr_parallel.parallel.registry import ALGORITHMS, entries, entry, synchronous
from asr_parallel.parallel.sync_info import DROP_WORSE, WEIGHTS
from asr_parallel.parallel.worker_ramp import WorkerRamp
from asr_parallel.record.options import build, build_chosen, check, merged, names, option, refuse

SHARES = ("utterance", "speaker")
OPTIMIZER_STATES = ("keep", "average", "reset")


@dataclass(frozen=True)
class WorkerOptions:
    """Workers; the result depends on their number, not on that of processes."""

    workers: int = option(1, "models that train on a share of the data each", least=1)
    algorithm: str = option("average", "what they do to each other's models", choices=ALGORITHMS)
    share_by: str | None = option(
        None, "what a worker gets whole", choices=SHARES, unset="the algorithm's, utterance for most"
    )
    sites: str | None = option(
        None,
        "lines 'SPEAKER SITE': every worker is a site and gets what its speakers said",
        metavar="FILE",
        path=True,
    )
    worker_lr_scale: float | None = option(
        None, "a worker's learning rate over the effective one", above=0, unset="the algorithm's, 1 or K"
    )
    weights: str = option("frames", "by which workers count in a mean", choices=WEIGHTS)
    best_first: int = option(0, "first synchronizations that take the best worker's model, and no mean", least=0)
    drop_worse: float = option(
        DROP_WORSE, "nats a frame: a worker so much worse than the best is left out", above=0,
        source="Kaldi steps/libs/nnet3/train/common.py",
    )  # fmt: skip
    optimizer_state: str | None = option(
        None, "momentum and Fisher estimates at a synchronization", choices=OPTIMIZER_STATES,
        unset="keep; some algorithms reset momentum",
    )  # fmt: skip
    comm_dtype: str = option(
        "float32", "numbers that models are sent as; integers are sent with error feedback", choices=COMM_DTYPES
    )
    overlap: bool = option(False, "train on while models are sent; means come one period late")
    sync_first: float = option(
        0.0, "part of the training, at first, in which models are averaged after every minibatch", least=0, most=1,
        source="post-local SGD, Lin et al., arXiv 1808.07217",
    )  # fmt: skip
    workers_first: int | None = option(
        None, "workers that train at first; their number grows in equal steps up to all of them at the end", least=1,
        unset="all of them", source="Kaldi steps/nnet3/train_dnn.py, num-jobs-initial, is 1",
    )  # fmt: skip
    qsr_alpha: float | None = option(
        None, "growth of periods as the learning rate falls: max(period, (alpha / rate of a minibatch's mean)^2)",
        above=0, unset="period alone", source="QSR, Gu et al., arXiv 2310.14423",
    )  # fmt: skip
    ema: float = option(
        0.0, "part that a moving average, the final model, keeps of itself at a synchronization; 0: none",
        least=0, below=1,
    )  # fmt: skip
    fault_tolerant: bool = option(
        False, "go on without a lost process; its workers move to the others", affects_result=False
    )

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range or of no use to the algorithm."""
        self.check_workers()

    def check_workers(self) -> None:
        """Raise ValueError for an option out of range or of no use to the algorithm."""
        check(self)
        if self.share_by is not None and self.sites is not None:
            raise ValueError("share_by and sites both say what a worker gets: expected one of them")
        if self.overlap and self.fault_tolerant:
            raise ValueError("overlap: fault_tolerant needs finished synchronizations; expected one of them")
        chosen, wrappers = entry(self.algorithm), frozenset[str]().union(*(one.cls.supports for one in entries()))
        for one in fields(WorkerOptions):
            value = getattr(self, one.name)
            if one.name in wrappers - chosen.cls.supports and value != one.default:
                users = sorted(other.name for other in entries() if one.name in other.cls.supports)
                refuse("algorithm", chosen.name, one.name, value, users)
        self._check_ramp()
        if self.overlap and chosen.cls.uses_means and self.comm_dtype in SUMS:
            raise ValueError(f"comm_dtype {self.comm_dtype}: expected float32 with overlap")

    def _check_ramp(self) -> None:
        """Raise ValueError for a number of workers that is to grow and cannot."""
        if self.workers_first is None:
            return
        if self.workers_first > self.workers:
            raise ValueError(f"workers_first {self.workers_first}: expected at most all {self.workers} workers")
        for name in ("sites", "sync_first", "qsr_alpha"):
            if getattr(self, name):
                raise ValueError(f"workers_first and {name} do not go together; expected one of them")

    @property
    def ramp(self) -> WorkerRamp | None:
        """The number of workers as it grows; None: all train from the beginning."""
        grows = self.workers_first is not None and self.workers_first < self.workers
        return WorkerRamp(self.workers_first, self.workers) if grows and self.workers_first else None

    @property
    def resolved_share_by(self) -> str:
        """The unit of data that a worker gets whole, also when nothing was asked for."""
        return self.share_by or entry(self.algorithm).cls.default_share_by

    def optimizer_state_at_sync(self, optimizer: str) -> str:
        """Return what happens to the optimiser's state at a synchronization.

        Velocities are forgotten where CNTK's block momentum, SlowMo and co-learning start a round anew; elsewhere, and
        for every other optimiser, state is kept.
        """
        if self.optimizer_state is not None:
            return self.optimizer_state
        from asr_parallel.nnet.optimizers import optimizer_class

        anew = entry(self.algorithm).cls.resets_momentum and optimizer_class(optimizer).takes_momentum
        return "reset" if anew else "keep"


def make_algorithm(options: Any) -> Algorithm:
    """Return the synchronous algorithm of an instance of its options."""
    return synchronous(next(one.name for one in entries() if one.options is type(options)))(options)


def known() -> dict[str, type]:
    """Return the own options of every algorithm, by its name."""
    return {one.name: one.options for one in entries()}


def option_names() -> frozenset[str]:
    """Return the names of all options here: of workers, and of every algorithm."""
    return names(WorkerOptions).union(*map(names, known().values()))


def split(**given: Any) -> tuple[WorkerOptions, Any]:
    """Return the options of the workers and of their algorithm from values by name; other names are left alone."""
    workers = build(WorkerOptions, given)
    return workers, build_chosen("algorithm", workers.algorithm, known(), given)


def algorithm_flags() -> type:
    """Return a group with the options of all algorithms."""
    return merged("Options of algorithms", known())
