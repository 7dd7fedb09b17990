"""The algorithms by their names."""

from asr_parallel.parallel.algorithm import Algorithm
from asr_parallel.parallel.average import PERIOD, Average
from asr_parallel.parallel.isolated import Isolated

ALGORITHMS = ("average", "none")


def algorithm(name: str, period: int | None, exact: bool = False) -> Algorithm:
    """The algorithm of this name in ALGORITHMS, ValueError for another.

    Args:
        period: None for the algorithm's own.
        exact: see Algorithm.
    """
    if name == "average":
        return Average(period or PERIOD, exact)
    if name == "none":
        return Isolated(exact)
    raise ValueError(f"unknown algorithm {name!r}; expected one of {', '.join(ALGORITHMS)}")
