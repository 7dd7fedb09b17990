"""Checks of single workers that are no baseline: their algorithm has to move them."""

from collections.abc import Mapping, Sequence
from typing import Any

from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.search_space import SearchSpace
from asr_parallel.parallel.registry import entries, entry


def check_lone(algorithm: str, workers: Sequence[int], options: Mapping[str, Any]) -> None:
    """Raise ValueError for a cell whose single worker is to be no baseline, and would be trained like one."""
    if 1 not in workers:
        raise ValueError(f"baseline false: workers {workers}; expected 1 among them")
    if not entry(algorithm).cls.moves_one_worker() and not options.get("ema"):
        others = ", ".join(one.name for one in entries() if one.cls.moves_one_worker())
        raise ValueError(f"baseline false: one worker of {algorithm} is a plain one; expected one of {others}, or ema")


def check_moved(training: Training, space: SearchSpace | None) -> None:
    """Raise ValueError for a contestant of one worker whose constants, none of them tuned, make it a plain one."""
    options, of = training.training_options, entry(training.algorithm)
    if training.workers > 1 or training.is_plain or options.workers.ema or training.tuned_as:
        return
    tuned = space.ranges(training.algorithm, training.optimizer, False, training.fixed) if space else {}
    if not tuned.keys() & (of.own_options - {"period"}) and of.cls(options.algorithm).leaves_one_worker():
        raise ValueError(
            f"{training.name}: at rate 1 and without momentum one worker of {training.algorithm} is a plain one;"
            " expected other constants"
        )
