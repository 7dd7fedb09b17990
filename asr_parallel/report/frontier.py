"""Means over seeds, what each is compared with, and the frontier of WER against speedup."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr_parallel.decode.significance import mean_interval
from asr_parallel.report.comparison import Cell, Comparison, WordErrors

Speedup = Literal["speedup_frames", "speedup_loss"]
ONE_WORKER = "one worker"
LEFT_OVER = 0.05  # of the frames, at most, for want of a whole minibatch


@dataclass(frozen=True)
class Mean:
    """Mean or median of n values. deviation: of a sample (divided by n - 1); None of a single value and of a median."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Mean | None":
        """Of the values that are known, None if none is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True, eq=False)
class Group:
    """The cells that differ in nothing but their seed.

    Attributes:
        system: how the algorithm is told from others in this comparison, without the number of workers.
        is_baseline: whether other groups are compared with this one.
        same_frames: whether it was trained on as many frames as the one worker it is compared with.
    """

    system: str
    cells: tuple[Cell, ...]
    is_baseline: bool
    same_frames: bool = True

    @property
    def first(self) -> Cell:
        """Any of its cells, for what all have in common."""
        return self.cells[0]

    @property
    def workers(self) -> int:
        """K."""
        return self.first.workers

    @property
    def name(self) -> str:
        """The system and its number of workers."""
        return self.system if self.system.startswith(ONE_WORKER) else f"{self.system}, K = {self.workers}"

    @property
    def done(self) -> list[Cell]:
        """The cells whose training came to its end."""
        return [cell for cell in self.cells if cell.status == "done"]

    @property
    def lost(self) -> str:
        """Return the status of the cells that are not done: "diverged", "1 of 3 diverged"; "" where all are done."""
        counts = Counter(cell.status for cell in self.cells if cell.status != "done")
        every = len(self.cells)
        return ", ".join(status if n == every else f"{n} of {every} {status}" for status, n in counts.items())

    def mean(self, value: Callable[[Cell], float | None]) -> Mean | None:
        """Of a value of the cells that are done."""
        return Mean.of(value(cell) for cell in self.done)

    def errors(self, name: str) -> list[WordErrors]:
        """Of a set, of the cells that are done and were scored on it."""
        return [cell.wer[name] for cell in self.done if name in cell.wer]

    def wer(self, name: str) -> Mean | None:
        """Per cent, on a set."""
        return Mean.of(errors.wer for errors in self.errors(name))

    def interval(self, name: str) -> tuple[float, float] | None:
        """95 % confidence interval of the mean WER on a set, by bootstrap over speakers and seeds; None: unknown."""
        errors = self.errors(name)
        if len(errors) == 1:
            low, high = errors[0].low, errors[0].high
            return None if low is None or high is None else (low, high)
        counts = _by_speaker(errors)
        return None if counts is None else mean_interval(counts)

    def difference(self, base: "Group", name: str) -> tuple[float, float, float] | None:
        """Mean WER less that of another group on a set, over the seeds that both have, and its 95 % interval.

        By bootstrap over speakers and seeds, the same for both. None where that cannot be said.
        """
        of_base = {cell.seed: cell.wer[name] for cell in base.done if name in cell.wer}
        pairs = [
            (cell.wer[name], of_base[cell.seed]) for cell in self.done if name in cell.wer and cell.seed in of_base
        ]
        counts = _by_speaker([errors for pair in zip(*pairs, strict=True) for errors in pair])
        if base is self or counts is None:
            return None
        mean = statistics.fmean(own.wer - other.wer for own, other in pairs)
        return mean, *mean_interval(counts[: len(pairs)], counts[len(pairs) :])

    def speedup(self, which: Speedup) -> Mean | None:
        """Modelled; 1 by definition for what others are compared with.

        To the same loss it is the median, where never counts as infinite time; of an even number the slower one of the
        two in the middle. None where that is infinite too. n: of the seeds that came to the loss.
        """
        known = [value for cell in self.done if (value := getattr(cell, which)) is not None]
        if not known:
            return Mean(1.0, None, len(self.done)) if self.is_baseline and self.done else None
        if which == "speedup_frames":
            return Mean.of(known)
        median = statistics.median_low(known)
        return Mean(median, None, sum(value > 0 for value in known)) if median > 0 else None

    @property
    def reached(self) -> tuple[int, int]:
        """Return how many seeds came to the one worker's held-out loss, and of how many it is known."""
        known = [cell.speedup_loss for cell in self.done if cell.speedup_loss is not None]
        return sum(value > 0 for value in known), len(known)

    def point(self, which: Speedup, name: str) -> tuple[float, float] | None:
        """(mean speedup, mean WER) of a set; None where either is unknown, or some seed has no such speedup.

        Also where the WER is of more or fewer frames than the one worker's: the speedup is for as many.
        """
        if which == "speedup_frames" and not self.same_frames:
            return None
        speedup, wer = self.speedup(which), self.wer(name)
        return (speedup.mean, wer.mean) if speedup and wer and speedup.n == len(self.done) else None


@dataclass(frozen=True, eq=False)
class Curve:
    """One system over the numbers of workers; the first group is what it is compared with, where there is one."""

    system: str
    algorithm: str
    groups: tuple[Group, ...]


def summarise(comparison: Comparison) -> list[Group]:
    """Put the cells of a comparison together that differ in their seed alone, in the order in which they come."""
    found: dict[tuple, list[Cell]] = {}
    for cell in comparison.cells:
        found.setdefault((*_system(cell), cell.workers), []).append(cell)
    names = _names(comparison.cells)
    alone = [cells[0] for cells in found.values() if cells[0].workers == 1]
    compared = {first.name for cells in found.values() if (first := _baseline(cells[0], alone)) is not None}
    groups = []
    frames = {cells[0].name: next((cell.frames for cell in cells if cell.frames), None) for cells in found.values()}
    for cells in found.values():
        first = cells[0]
        system = names[_system(first)] if first.workers > 1 else _alone(first, comparison.cells)
        base = _baseline(first, alone)
        same = base is None or _alike(frames[first.name], frames[base.name])
        groups.append(Group(system, tuple(cells), first.name in compared, same))
    return groups


def _alike(frames: int | None, of_base: int | None) -> bool:
    """But for minibatches that are left over at the ends of shares; also where they are not known."""
    return not frames or not of_base or abs(frames / of_base - 1) <= LEFT_OVER


def baseline(group: Group, groups: Sequence[Group]) -> Group | None:
    """The one-worker group with the same optimiser; of several, that which has most in common with this one."""
    alone = {other.first.name: other for other in groups if other.workers == 1}
    found = _baseline(group.first, [other.first for other in alone.values()])
    return alone[found.name] if found else None


def curves(groups: Sequence[Group]) -> list[Curve]:
    """The systems of more than one worker, each by K; if there are none, the one-worker groups."""
    found: dict[tuple, list[Group]] = {}
    for group in groups:
        if group.workers > 1:
            found.setdefault(_system(group.first), []).append(group)
    several = []
    for of_system in found.values():
        of_system.sort(key=lambda group: group.workers)
        first = baseline(of_system[0], groups)
        head = of_system[0]
        several.append(Curve(head.system, head.first.algorithm, (*([first] if first else []), *of_system)))
    return several or [Curve(group.system, group.first.algorithm, (group,)) for group in groups]


def diverged(groups: Sequence[Group]) -> str:
    """The groups of which a training has diverged, in a few words; "" for none."""
    found = [group for group in groups if any(cell.status == "diverged" for cell in group.cells)]
    return "; ".join(group.name if not group.done else f"{group.name} ({group.lost})" for group in found)


def _by_speaker(of_trainings: Sequence[WordErrors]) -> np.ndarray | None:
    """(trainings, speakers, 2) errors and words; None unless all have the same speakers, two at least."""
    speakers = sorted(of_trainings[0].per_speaker) if of_trainings else []
    if len(speakers) < 2 or any(sorted(errors.per_speaker) != speakers for errors in of_trainings):
        return None
    return np.array([[errors.per_speaker[name] for name in speakers] for errors in of_trainings])


def frontier(groups: Sequence[Group], which: Speedup, name: str) -> list[Group]:
    """The groups than which none is both at least as fast and at least as accurate, and better in one; by speedup."""
    points = [(group, point) for group in groups if (point := group.point(which, name)) is not None]
    best: list[Group] = []
    lowest = math.inf
    for group, (speedup, wer) in sorted(points, key=lambda one: (-one[1][0], one[1][1])):
        if wer < lowest or (best and (speedup, wer) == best[-1].point(which, name)):
            best.append(group)
            lowest = wer
    return best[::-1]


def sets(comparison: Comparison) -> list[str]:
    """The sets that any cell was scored on: eval, dev, then others by name."""
    names = {name for cell in comparison.cells for name in cell.wer}
    return [name for name in ("eval", "dev") if name in names] + sorted(names - {"eval", "dev"})


def scorers(comparison: Comparison, names: Sequence[str] | None = None) -> str:
    """Who scored these sets, or all, in a few words."""
    found = {
        errors.scorer
        for cell in comparison.cells
        for name, errors in cell.wer.items()
        if errors.scorer and (names is None or name in names)
    }
    return " and ".join(sorted(found)) or comparison.scorer or "unknown scorer"


def scored(comparison: Comparison, names: Sequence[str]) -> str:
    """What is said beside a WER: how many words of which sets, and who scored."""
    counts = [{cell.wer[name].words for cell in comparison.cells if name in cell.wer} for name in names]
    shown = [" or ".join(f"{n:,}" for n in sorted(found)) for found in counts]
    of = ", ".join(f"{name} of {n} words" for name, n in zip(names, shown, strict=True))
    return f"WER on {of}, scored by {scorers(comparison, names)}" if of else "Nothing was scored"


def _system(cell: Cell) -> tuple[str, str, str, int]:
    return cell.algorithm, cell.optimizer, cell.label, cell.period or 0


def _baseline(cell: Cell, alone: Sequence[Cell]) -> Cell | None:
    same = [other for other in alone if other.optimizer == cell.optimizer]
    if not same:
        return None
    return max(same, key=lambda other: (other.label == cell.label, other.algorithm == cell.algorithm,
                                        other.period == cell.period, -same.index(other)))  # fmt: skip


def _names(cells: Iterable[Cell]) -> dict[tuple[str, str, str, int], str]:
    """What each system is called: the algorithm, and of the rest as much as tells it from others."""
    systems = {_system(cell) for cell in cells if cell.workers > 1}
    optimizers = {cell.optimizer for cell in cells}
    names = {}
    for algorithm, optimizer, label, period in systems:
        periods = {p for a, _, text, p in systems if a == algorithm and text == label}
        parts = [algorithm, label]
        if len(periods) > 1 and period:
            parts.append(f"period {period}")
        if len(optimizers) > 1:
            parts.append(optimizer)
        names[algorithm, optimizer, label, period] = ", ".join(part for part in parts if part)
    return names


def _alone(cell: Cell, cells: Iterable[Cell]) -> str:
    """What a training by one worker is called."""
    alone = {_system(other) for other in cells if other.workers == 1}
    algorithms, _, labels, _ = (set(values) for values in zip(*alone, strict=True))
    parts = [ONE_WORKER, cell.label if len(labels) > 1 else ""]
    parts += [cell.algorithm] if len(algorithms) > 1 else []
    parts += [cell.optimizer] if len({other.optimizer for other in cells}) > 1 else []
    return ", ".join(part for part in parts if part)
