"""Speedups published by others."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A speedup published by others, with its peak where the source gives one."""

    who: str
    source: str
    workers: int
    speedup: float
    peak: float | None = None


SU_CHEN = "Su & Chen, arXiv 1507.01239, abstract"
CNTK = "CNTK documentation, Multiple GPUs and machines, table of Block-Momentum SGD"

PUBLISHED = (
    Published("model averaging, NG-SGD, 300 h Switchboard", SU_CHEN, 16, 9.3),
    Published("model averaging, NG-SGD, 300 h Switchboard", SU_CHEN, 32, 17.0),
    Published("BMUF, LSTM, 2,600 h", CNTK, 64, 43.65, 54.0),
)
