"""Speedups that others have published, to stand beside ours and never among them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A speedup as its source gives it: average, and peak where it tells the two apart."""

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


def published_markdown() -> list[str]:
    """Lines of a table of them."""
    lines = ["| published (not ours) | GPUs | published speedup | published peak | source |", "|---|--:|--:|--:|---|"]
    for one in PUBLISHED:
        peak = "-" if one.peak is None else f"{one.peak:g}"
        lines.append(f"| {one.who} | {one.workers} | {one.speedup:g} | {peak} | {one.source} |")
    return lines
