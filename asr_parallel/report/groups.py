"""Cells grouped over seeds: their means, their baselines, and the frontier of WER against speedup."""

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
LEFT_OVER = 0.05  # share of the frames, at most, that do not fill a minibatch


@dataclass(frozen=True)
class SeedMean:
    """Mean or median over n seeds.

    Attributes:
        deviation: standard deviation of a sample (divided by n - 1); None for a single value and for a median.
    """

    value: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "SeedMean | None":
        """Return the mean of the values that are known, None if there is none."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that differ only in their seed.

    Attributes:
        system: name of the algorithm and variant, unique in this comparison, without the number of workers.
        is_baseline: whether other groups are compared with this one.
        same_frames: whether it was trained on as many frames as the one worker it is compared with.
    """

    system: str
    cells: tuple[Cell, ...]
    is_baseline: bool
    same_frames: bool = True

    @property
    def first(self) -> Cell:
        """The first of its cells, for what all have in common."""
        return self.cells[0]

    @property
    def workers(self) -> int:
        """Number of workers, K."""
        return self.first.workers

    @property
    def name(self) -> str:
        """The system and its number of workers."""
        return self.system if self.system.startswith(ONE_WORKER) else f"{self.system}, K = {self.workers}"

    @property
    def done(self) -> list[Cell]:
        """The cells whose training was completed."""
        return [cell for cell in self.cells if cell.status == "done"]

    @property
    def lost(self) -> str:
        """Status of the cells that are not done: "diverged", "1 of 3 diverged"; "" where all are done."""
        counts = Counter(cell.status for cell in self.cells if cell.status != "done")
        every = len(self.cells)
        return ", ".join(status if n == every else f"{n} of {every} {status}" for status, n in counts.items())

    def mean(self, value: Callable[[Cell], float | None]) -> SeedMean | None:
        """Return the mean of a value over the cells that are done."""
        return SeedMean.of(value(cell) for cell in self.done)

    def errors(self, name: str) -> list[WordErrors]:
        """Return the errors on a set, for every cell that is done and was scored on it."""
        return [cell.wer[name] for cell in self.done if name in cell.wer]

    def wer(self, name: str) -> SeedMean | None:
        """Return the mean WER on a set, per cent."""
        return SeedMean.of(errors.wer for errors in self.errors(name))

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean WER on a set, by bootstrap over speakers and seeds; None: unknown."""
        errors = self.errors(name)
        if len(errors) == 1:
            low, high = errors[0].low, errors[0].high
            return None if low is None or high is None else (low, high)
        counts = _by_speaker(errors)
        return None if counts is None else mean_interval(counts)

    def speedup(self, which: Speedup) -> SeedMean | None:
        """Return the modelled speedup over seeds, which is 1 by definition for a baseline.

        To the same loss it is the median, where never counts as infinite time; of an even number the slower one of the
        two in the middle. None where that is infinite too. n: number of seeds that reached the loss.
        """
        known = [value for cell in self.done if (value := getattr(cell, which)) is not None]
        if not known:
            return SeedMean(1.0, None, len(self.done)) if self.is_baseline and self.done else None
        if which == "speedup_frames":
            return SeedMean.of(known)
        median = statistics.median_low(known)
        return SeedMean(median, None, sum(value > 0 for value in known)) if median > 0 else None

    @property
    def reached(self) -> tuple[int, int]:
        """Return how many seeds reached the one worker's held-out loss, and for how many this is known."""
        known = [cell.speedup_loss for cell in self.done if cell.speedup_loss is not None]
        return sum(value > 0 for value in known), len(known)

    def point(self, which: Speedup, name: str) -> tuple[float, float] | None:
        """Return (mean speedup, mean WER) on a set; None where either is unknown, or some seed has no such speedup.

        None also where the number of frames differs from the one worker's: the speedup is for the same frames.
        """
        if which == "speedup_frames" and not self.same_frames:
            return None
        speedup, wer = self.speedup(which), self.wer(name)
        return (speedup.value, wer.value) if speedup and wer and speedup.n == len(self.done) else None


@dataclass(frozen=True, eq=False)
class Curve:
    """A system over the numbers of workers; the first group is its baseline, where there is one."""

    system: str
    algorithm: str
    groups: tuple[Group, ...]


def summarise(comparison: Comparison) -> list[Group]:
    """Group the cells of a comparison that differ only in their seed, in the order in which they come."""
    found: dict[tuple, list[Cell]] = {}
    for cell in comparison.cells:
        found.setdefault((*_system(cell), cell.workers), []).append(cell)
    names = _names(comparison.cells)
    single = [cells[0] for cells in found.values() if cells[0].is_plain]
    bases = {cells[0].name: _baseline(cells[0], single) for cells in found.values()}
    baselines = {base.name for base in bases.values() if base is not None}
    frames = {cells[0].name: next((cell.frames for cell in cells if cell.frames), None) for cells in found.values()}
    groups = []
    for cells in found.values():
        first = cells[0]
        system = _single_worker_name(first, comparison.cells) if first.is_plain else names[_system(first)]
        base = bases[first.name]
        same = base is None or _same_frames(frames[first.name], frames[base.name])
        groups.append(Group(system, tuple(cells), first.name in baselines, same))
    return groups


def _same_frames(frames: int | None, of_base: int | None) -> bool:
    """Return whether two numbers are equal except for incomplete minibatches; True where one is unknown."""
    return not frames or not of_base or abs(frames / of_base - 1) <= LEFT_OVER


def baseline(group: Group, groups: Sequence[Group]) -> Group | None:
    """Return the one-worker group with the same optimiser; of several, the one most like this group."""
    single = {other.first.name: other for other in groups if other.first.is_plain}
    found = _baseline(group.first, [other.first for other in single.values()])
    return single[found.name] if found else None


def curves(groups: Sequence[Group]) -> list[Curve]:
    """Return the systems that are compared with one worker, each by K; if there are none, the one-worker groups."""
    found: dict[tuple, list[Group]] = {}
    for group in groups:
        if not group.first.is_plain:
            found.setdefault(_system(group.first), []).append(group)
    several = []
    for of_system in found.values():
        of_system.sort(key=lambda group: group.workers)
        head, base = of_system[0], baseline(of_system[0], groups)
        several.append(Curve(head.system, head.first.algorithm, (*([base] if base else []), *of_system)))
    return several or [Curve(group.system, group.first.algorithm, (group,)) for group in groups]


def diverged(groups: Sequence[Group]) -> str:
    """Return the names of the groups with a training that diverged; "" for none."""
    found = [group for group in groups if any(cell.status == "diverged" for cell in group.cells)]
    return "; ".join(group.name if not group.done else f"{group.name} ({group.lost})" for group in found)


def _by_speaker(of_trainings: Sequence[WordErrors]) -> np.ndarray | None:
    """Return (trainings, speakers, 2) errors and words; None unless all have the same speakers, at least two."""
    speakers = sorted(of_trainings[0].per_speaker) if of_trainings else []
    if len(speakers) < 2 or any(sorted(errors.per_speaker) != speakers for errors in of_trainings):
        return None
    return np.array([[errors.per_speaker[name] for name in speakers] for errors in of_trainings])


def frontier(groups: Sequence[Group], which: Speedup, name: str) -> list[Group]:
    """Return the Pareto-optimal groups of speedup and WER on a set, in the order of speedup."""
    points = [(group, point) for group in groups if (point := group.point(which, name)) is not None]
    best: list[Group] = []
    lowest = math.inf
    for group, (speedup, wer) in sorted(points, key=lambda one: (-one[1][0], one[1][1])):
        if wer < lowest or (best and (speedup, wer) == best[-1].point(which, name)):
            best.append(group)
            lowest = wer
    return best[::-1]


def sets(comparison: Comparison) -> list[str]:
    """Return the sets that any cell was scored on: those of the comparison in its order, then others by name."""
    names = {name for cell in comparison.cells for name in cell.wer}
    in_order = comparison.sets or ("eval", "dev")
    return [name for name in in_order if name in names] + sorted(names.difference(in_order))


def scorers(comparison: Comparison, names: Sequence[str] | None = None) -> str:
    """Return the names of the scorers of these sets, or of all."""
    found = {
        errors.scorer
        for cell in comparison.cells
        for name, errors in cell.wer.items()
        if errors.scorer and (names is None or name in names)
    }
    return " and ".join(sorted(found)) or comparison.scorer or "unknown scorer"


def scored(comparison: Comparison, names: Sequence[str]) -> str:
    """Return the note beside a WER: how many words of which sets, and who scored."""
    counts = [{cell.wer[name].words for cell in comparison.cells if name in cell.wer} for name in names]
    shown = [" or ".join(f"{n:,}" for n in sorted(found)) for found in counts]
    of = ", ".join(f"{name} of {n} words" for name, n in zip(names, shown, strict=True))
    return f"WER on {of}, scored by {scorers(comparison, names)}" if of else "Nothing was scored"


def _system(cell: Cell) -> tuple[str, str, str, int, float]:
    return cell.algorithm, cell.optimizer, cell.label, cell.period or 0, cell.budget


def _baseline(cell: Cell, single: Sequence[Cell]) -> Cell | None:
    """Return the one-worker cell with the same optimiser that is most like a cell; the first of several."""
    same = [other for other in single if other.optimizer == cell.optimizer]
    return max(
        same, default=None,
        key=lambda o: (
            o.budget == cell.budget, o.label == cell.label, o.algorithm == cell.algorithm, o.period == cell.period
        ),
    )  # fmt: skip


def _names(cells: Iterable[Cell]) -> dict[tuple[str, str, str, int, float], str]:
    """Return the name of each system: the algorithm, and as much of the rest as makes it unique."""
    systems = {_system(cell) for cell in cells if not cell.is_plain}
    optimizers = {cell.optimizer for cell in cells}
    names = {}
    for algorithm, optimizer, label, period, budget in systems:
        periods = {p for a, _, text, p, _ in systems if a == algorithm and text == label}
        parts = [algorithm, label, f"period {period}" if len(periods) > 1 and period else ""]
        parts += [optimizer] if len(optimizers) > 1 else []
        parts += [_budget(budget)]
        names[algorithm, optimizer, label, period, budget] = ", ".join(filter(None, parts))
    return names


def _single_worker_name(cell: Cell, cells: Iterable[Cell]) -> str:
    """Return the name of a training by one worker."""
    single = {_system(other) for other in cells if other.is_plain}
    algorithms, _, labels, _, _ = (set(values) for values in zip(*single, strict=True))
    parts = [ONE_WORKER, cell.label if len(labels) > 1 else ""]
    parts += [cell.algorithm] if len(algorithms) > 1 else []
    parts += [cell.optimizer] if len({other.optimizer for other in cells}) > 1 else []
    parts += [_budget(cell.budget)]
    return ", ".join(filter(None, parts))


def _budget(budget: float) -> str:
    """Return the part of a name for trainings of another length; "" for the usual one."""
    return "" if budget == 1 else f"{budget:g} times the frames"
