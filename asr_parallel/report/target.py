"""Speedup to a target: how much sooner K workers come to what the tuned single worker comes to.

Every contestant is trained several times, each time for another number of frames and with a completed schedule. The
time to the target is interpolated between these trainings, never read off the middle of a decaying schedule. The target
is the median over seeds of the best single worker at its budget 1; time is compared with the *fastest* single worker.
These are the rules of AlgoPerf (MLCommons, version 0.6), but for the ladder of budgets.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr_parallel.report.comparison import Cell, Comparison, ModelledTime
from asr_parallel.report.groups import sets, summarise

DRAWS = 2000
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Goal:
    """A value to come to.

    kind: "loss" for the held-out loss, else the set of a WER in per cent. set_by: the single worker's name.
    """

    kind: str
    value: float
    set_by: str


@dataclass(frozen=True)
class ToGoal:
    """The speedup of a contestant to a goal, modelled.

    Attributes:
        speedup: median time of the fastest single worker over this one's; 0: half of the seeds never reached it;
            infinite: the single worker's did not.
        low, high: 95 % interval by bootstrap over seeds, the same ones for both; high is infinite where the single
            worker may not reach the goal within its budgets.
        reached, seeds: seeds that reached it, and all whose trainings are complete.
        at_least: the smallest budget already reached it with half of the seeds, so the true speedup may be larger.
        at_most: so did that of the single worker, so the true speedup may be smaller.
    """

    name: str
    workers: int
    speedup: float
    low: float
    high: float
    reached: int
    seeds: int
    at_least: bool
    at_most: bool


def goals(comparison: Comparison) -> list[Goal]:
    """Return the goals: the least median held-out loss of a single worker, and WER on the first set plus the margin.

    Single workers with fewer seeds than asked for have no say; where no other one is left, there is no goal.
    """
    if comparison.target is None:
        return []
    found: list[Goal] = []
    for kind in ("loss", *sets(comparison)[:1]):
        best: tuple[float, str] | None = None
        for name, cells in contestants_by_name(comparison).items():
            own = [cell for cell in cells if cell.is_plain and cell.budget == 1]
            values = [value for cell in own if (value := _value(cell, kind)) is not None]
            if (
                len(values) >= comparison.target.seeds
                and (median := statistics.median_high(values)) < (best or (math.inf,))[0]
            ):
                best = median, name
        if best:
            factor = 1 if kind == "loss" else 1 + comparison.margin / 100
            found.append(Goal(kind, factor * best[0], best[1]))
    return found


def to_goal(comparison: Comparison, goal: Goal, other_network: bool = False) -> list[ToGoal]:
    """Return the speedup of every contestant to a goal, in the order of the comparison.

    other_network: on the comparison's other one.
    """
    contestants = contestants_by_name(comparison)
    if other_network:
        contestants = {name: [_on_other(cell) for cell in cells] for name, cells in contestants.items()}
    times = {name: _times(cells, goal) for name, cells in contestants.items()}
    alone = {name: seconds for name, seconds in times.items() if contestants[name][0].is_plain}
    alone = {name: seconds for name, seconds in alone.items() if seconds}
    if not alone:
        return []
    fastest_name = min(alone, key=lambda name: _median(list(alone[name].values())))
    fastest = alone[fastest_name]
    found = []
    for name, seconds in times.items():
        seeds = sorted(seconds.keys() & fastest.keys())
        if not seeds:
            continue
        own, base = (np.array([of[seed] for seed in seeds]) for of in (seconds, fastest))
        low, high = _interval(own, base)
        found.append(
            ToGoal(
                name, contestants[name][0].workers, float(_ratio(_median(base), _median(own))), low, high,
                int(np.isfinite(own).sum()), len(seeds),
                at_least=name != fastest_name and _is_bound(own, contestants[name], seeds),
                at_most=name != fastest_name and _is_bound(base, contestants[fastest_name], seeds),
            )
        )  # fmt: skip
    return found


def time_to(points: Sequence[tuple[float, float]], goal: float) -> float:
    """Return the seconds at which (seconds, value), in the order of time, first come down to a goal; infinite: never.

    Between two completed trainings the value is taken to be linear in the logarithm of time, as learning curves nearly
    are; before the first one nothing is known, so that its whole time counts.
    """
    before: tuple[float, float] | None = None
    for seconds, value in points:
        if value <= goal:
            if before is None or not math.isfinite(before[1]):
                return seconds
            share = (before[1] - goal) / (before[1] - value)
            return math.exp(math.log(before[0]) + share * (math.log(seconds) - math.log(before[0])))
        before = seconds, value
    return math.inf


def contestants_by_name(comparison: Comparison) -> dict[str, list[Cell]]:
    """Return the cells of every contestant, over seeds and budgets, by the name of its group of budget 1."""
    groups = summarise(comparison)
    names = {_key(group.first): group.name for group in groups if group.first.budget == 1}
    found: dict[str, list[Cell]] = {}
    for cell in comparison.cells:
        if _key(cell) in names:
            found.setdefault(names[_key(cell)], []).append(cell)
    return found


def _on_other(cell: Cell) -> Cell:
    return replace(cell, modelled=None if cell.other_seconds is None else ModelledTime(cell.other_seconds))


def _key(cell: Cell) -> tuple[str, str, str, int, int]:
    return cell.algorithm, cell.optimizer, cell.label, cell.period or 0, cell.workers


def _value(cell: Cell, kind: str) -> float | None:
    """Return the held-out loss at the end of a training, or its WER on the set `kind`.

    Infinite where it diverged; None where it is missing or failed, which says nothing of how it would have learnt.
    """
    if cell.status != "done":
        return math.inf if cell.status == "diverged" else None
    if kind != "loss":
        return cell.wer[kind].wer if kind in cell.wer else None
    loss = cell.learning_curve[-1].loss if cell.learning_curve else None
    return math.inf if loss is None else loss


def _times(cells: Sequence[Cell], goal: Goal) -> dict[int, float]:
    """Return the seconds to a goal by seed, of the seeds whose trainings are all complete."""
    by_seed: dict[int, list[tuple[float, float]]] = {cell.seed: [] for cell in cells}
    for cell in sorted(cells, key=lambda one: one.budget):
        value, seconds = _value(cell, goal.kind), cell.modelled.seconds if cell.modelled else None
        if value is None or (seconds is None and cell.status == "done"):
            by_seed.pop(cell.seed, None)
        elif cell.seed in by_seed and seconds is not None:  # what diverged has no seconds, and reaches nothing
            by_seed[cell.seed].append((seconds, value))
    return {seed: time_to(points, goal.value) for seed, points in by_seed.items()}


def _is_bound(times: np.ndarray, cells: Sequence[Cell], seeds: Sequence[int]) -> bool:
    """Return whether the median of times is one that the smallest budgets take, so that it may be shorter in truth."""
    return bool(_median(times) <= _median([_smallest(cells, seed) for seed in seeds]))


def _smallest(cells: Sequence[Cell], seed: int) -> float:
    """Return the seconds of the smallest budget of a seed; 0 without any."""
    seconds = [cell.modelled.seconds or 0.0 for cell in cells if cell.seed == seed and cell.modelled]
    return min(seconds, default=0.0)


def _median(values: Sequence[float] | np.ndarray) -> float:
    """Return the median; of an even number the larger of the two in the middle, as never is no number to halve."""
    return float(np.sort(values)[len(values) // 2])


def _ratio(base: float, own: float) -> float:
    return 0.0 if math.isinf(own) else base / own


def _interval(own: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of medians, base over own, by bootstrap over paired seeds."""
    drawn = np.random.default_rng(0).integers(len(own), size=(DRAWS, len(own)))  # the same for every contestant
    middle = len(own) // 2
    of_own, of_base = (np.sort(values[drawn], axis=1)[:, middle] for values in (own, base))
    ratios = sorted(_ratio(float(b), float(o)) for b, o in zip(of_base, of_own, strict=True))
    low, high = (ratios[round(share * (DRAWS - 1))] for share in INTERVAL)
    return low, high


def speedup_text(one: ToGoal) -> str:
    """Return the speedup with its interval, and how many seeds reached the goal where not all did."""
    if (one.at_least and one.at_most) or math.isinf(one.speedup):
        return (
            "unknown, the smallest budgets reach it" if one.at_least else "unknown, the single worker never reached it"
        )
    bound = "at least " if one.at_least else "at most " if one.at_most else ""
    shown = f"{bound}{one.speedup:.2f}" if one.speedup else "never"
    high = "unknown" if math.isinf(one.high) else f"{one.high:.2f}"
    interval = f" ({one.low:.2f} to {high})" if one.seeds > 1 else ""
    return shown + interval + (f", {one.reached} of {one.seeds} seeds" if one.reached < one.seeds else "")


def target_rows(comparison: Comparison) -> list[list[str]]:
    """Return heads and rows of a table with a line for each contestant; empty without a target."""
    found = goals(comparison)
    if not found:
        return []
    heads, columns = ["system"], list[dict[str, str]]()
    networks = {False: comparison.clock.network if comparison.clock else ""}
    if comparison.other_network:
        networks[True] = comparison.other_network
    for goal in found:
        for other, network in networks.items():
            clock = ", ".join(filter(None, ("modelled", network)))
            heads.append(f"speedup to {_goal_text(goal)} ({clock}; 95 %)")
            columns.append({one.name: speedup_text(one) for one in to_goal(comparison, goal, other)})
    return [heads, *([name, *(column.get(name, "") for column in columns)] for name in columns[0])]


def target_text(comparison: Comparison) -> str:
    """Return how the table is to be read, in a few sentences; "" without a target."""
    found = goals(comparison)
    if comparison.target is None:
        return ""
    if not found:
        return f"No target: no single worker has {comparison.target.seeds} completed seeds."
    budgets = ", ".join(f"{budget:g}" for budget in sorted({cell.budget for cell in comparison.cells}))
    set_by = " and ".join(f"{_goal_text(goal)} by {goal.set_by}" for goal in found)
    return (
        f"The target is the median over seeds of the best single worker ({set_by}), for WER plus"
        f" {comparison.margin:g} %. Speedup: time of the fastest single worker to it over that of the system, medians"
        f" over seeds, each time interpolated between completed trainings of {budgets} times the frames, which have"
        " schedules of their own; never counts as infinite time. Interval: bootstrap over paired seeds, with the target"
        " fixed."
    )


def _goal_text(goal: Goal) -> str:
    return f"held-out loss {goal.value:.4f}" if goal.kind == "loss" else f"{goal.kind} WER {goal.value:.2f} %"
