"""Options of workers, and those of the algorithms from the registry."""

import argparse
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, make_dataclass
from typing import Any, TypeVar

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.registry import ALGORITHMS, Entry, entries, entry
from asr_parallel.parallel.sync_info import DROP_WORSE, WEIGHTS
from asr_parallel.parallel.weighted_mean import COMM_DTYPES, SUMS
from asr_parallel.record import options as record_options
from asr_parallel.record.options import build, check, option, walk

SHARES = ("utterance", "speaker")
OPTIMIZER_STATES = ("keep", "average", "reset")

T = TypeVar("T")


@dataclass(frozen=True)
class WorkerOptions:
    """Workers; the result depends on their number, not on that of processes."""

    workers: int = option(1, "models that train on a share of the data each", least=1)
    algorithm: str = option("average", "what they do to each other's models", choices=ALGORITHMS)  # type: ignore[arg-type]
    share_by: str | None = option(
        None, "what a worker gets whole", choices=SHARES, unset="the algorithm's, utterance for most"
    )
    sites: str | None = option(
        None, "lines 'SPEAKER SITE': every worker is a site and gets what its speakers said", metavar="FILE"
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
    ema: float = option(
        0.0, "part that a moving average, the final model, keeps of itself at a synchronization; 0: none",
        least=0, below=1,
    )  # fmt: skip
    fault_tolerant: bool = option(False, "go on without a lost process; its workers move to the others")

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
                refuse(one.name, value, chosen, [other for other in entries() if one.name in other.cls.supports])
        if self.overlap and chosen.cls.uses_means and self.comm_dtype in SUMS:
            raise ValueError(f"comm_dtype {self.comm_dtype}: expected float32 with overlap")

    @property
    def resolved_share_by(self) -> str:
        """What a worker gets whole, also when nothing was asked for."""
        return self.share_by or entry(self.algorithm).cls.default_share_by

    def optimizer_state_at_sync(self, optimizer: str) -> str:
        """Return what happens to the optimiser's state at a synchronization.

        Velocities are forgotten where CNTK's block momentum, SlowMo and co-learning start a round anew; elsewhere, and
        for every other optimiser, state is kept: measurements are in recipes/swbd/RESULTS.md.
        """
        if self.optimizer_state is not None:
            return self.optimizer_state
        anew = entry(self.algorithm).cls.resets_momentum and optimizer in ("momentum", "nesterov")
        return "reset" if anew else "keep"


def refuse(name: str, value: Any, chosen: Entry, users: list[Entry]) -> None:
    """Raise ValueError for an option that the chosen algorithm does not have."""
    those = ", ".join(sorted(user.name for user in users))
    raise ValueError(f"{name} {value!r} is of no use to algorithm {chosen.name}, only to {those}")


def make_algorithm(options: Any) -> Algorithm:
    """Return the algorithm of an instance of its options."""
    return next(one for one in entries() if one.options is type(options)).cls(options)


def algorithm_options(name: str, given: Mapping[str, Any]) -> Any:
    """Return the options of an algorithm from values by name; None stands for a default.

    Raises:
        ValueError: a value out of range, or of an option that only other algorithms have.
    """
    chosen = entry(name)
    given = {key: value for key, value in given.items() if value is not None}
    for key in given.keys() - chosen.own_options:
        if users := [one for one in entries() if key in one.own_options]:
            refuse(key, given[key], chosen, users)
    own: Any = build(chosen.options, given)
    check(own)
    return own


def option_names() -> frozenset[str]:
    """Return the names of all options here: of workers, and of every algorithm."""
    return frozenset(one.name for one in fields(WorkerOptions)).union(*(one.own_options for one in entries()))


def split(**given: Any) -> tuple[WorkerOptions, Any]:
    """Return the options of the workers and of their algorithm from values by name; other names are left alone."""
    workers = build(WorkerOptions, given)
    return workers, algorithm_options(workers.algorithm, {key: given[key] for key in given.keys() & option_names()})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every option of workers and algorithms."""
    record_options.add_arguments(parser, WorkerOptions)
    record_options.add_arguments(parser, algorithm_flags())
    parser.set_defaults(workers=WorkerOptions.workers)


def algorithm_flags() -> type:
    """Return a dataclass with the options of all algorithms.

    Options of the same name are one, whose help names the algorithms and their defaults. Its own defaults are None.
    """
    users: dict[str, list[tuple[Entry, Field[Any], Any]]] = {}
    for one in entries():
        for _, each, hint in walk(one.options):
            users.setdefault(each.name, []).append((one, each, hint))
    merged = []
    for name, uses in users.items():
        defaults: dict[str, list[str]] = {}
        for one, each, _ in uses:
            shown = each.metadata["unset"] if each.default is None else str(each.default)
            defaults.setdefault(shown, []).append(one.name)
        first, hint = uses[0][1].metadata, uses[0][2]
        said = "; ".join(f"{', '.join(of)}: {text}" if len(defaults) > 1 else text for text, of in defaults.items())
        text = f"{', '.join(one.name for one, _, _ in uses)}: {first['help']}"
        choices = tuple(dict.fromkeys(word for _, each, _ in uses for word in each.metadata["choices"]))
        merged.append((name, hint, option(None, text, choices=choices, unset=said, metavar=first["metavar"])))
    flags = make_dataclass("AlgorithmFlags", merged, frozen=True)
    flags.__doc__ = "Options of algorithms."
    return flags
