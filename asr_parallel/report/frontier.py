"""Means over seeds, what each is compared with, and the frontier of WER against speedup."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from asr_parallel.report.comparison import Cell, Comparison, WordErrors

Speedup = Literal["speedup_frames", "speedup_loss"]
ONE_WORKER = "one worker"
LEFT_OVER = 0.05  # of the frames, at most, for want of a whole minibatch


@dataclass(frozen=True)
class Mean:
    """Of n values; deviation: of a sample (divided by n - 1), None of a single value."""

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
        """The 95 % confidence interval on a set, its ends averaged over the seeds; None unless all seeds have one."""
        ends = [(e.low, e.high) for e in self.errors(name) if e.low is not None and e.high is not None]
        if not ends or len(ends) < len(self.errors(name)):
            return None
        return statistics.fmean(low for low, _ in ends), statistics.fmean(high for _, high in ends)

    def speedup(self, which: Speedup) -> Mean | None:
        """Modelled; 1 by definition for what others are compared with."""
        found = self.mean(lambda cell: getattr(cell, which))
        return Mean(1.0, None, len(self.done)) if found is None and self.is_baseline and self.done else found

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
