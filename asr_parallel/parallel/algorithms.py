"""The algorithms by their names."""

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.average import PERIOD, Average
from asr_parallel.parallel.isolated import Isolated

ALGORITHMS = ("average", "none")


def algorithm(name: str, period: int | None) -> Algorithm:
    """The algorithm of this name in ALGORITHMS, ValueError for another. period: None for the algorithm's own."""
    if name == "average":
        return Average(period or PERIOD)
    if name == "none":
        return Isolated()
    raise ValueError(f"unknown algorithm {name!r}; expected one of {', '.join(ALGORITHMS)}")
