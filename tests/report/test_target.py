"""Speedups to a target, of trainings whose losses follow a law that is known."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from asr_parallel.report.comparison import Cell, Comparison, Evaluation, ModelledTime, Target, WordErrors
from asr_parallel.report.target import goals, speedup_text, target_rows, target_text, time_to, to_goal
from asr_parallel.report.write_report import write_report

BUDGETS, SEEDS = (0.5, 1.0, 2.0, 4.0), (1, 2, 3, 4, 5)


def cell(name: str, workers: int, seed: int, budget: float, seconds: float, loss: float | None) -> Cell:
    """A training for `budget` times 100 seconds of a single worker; the WER is ten times the loss."""
    frames = round(1000 * budget)
    wer = {} if loss is None else {"eval": WordErrors(1000, 10 * loss, round(100 * loss), 0, 0)}
    return Cell(
        f"{name}_{workers}_x{budget:g}_s{seed}", name, workers, "sgd", seed, "done" if loss is not None else "diverged",
        budget=budget, frames=frames, learning_curve=(Evaluation(frames, loss),), wer=wer,
        modelled=ModelledTime(seconds),
    )  # fmt: skip


def ladder(name: str, workers: int, speedup: float, worse: float = 0.0, step_seconds: float = 1.0) -> list[Cell]:
    """Losses that fall by 0.2 with every doubling, spread over the seeds from -0.02 to 0.02."""
    return [
        cell(
            name, workers, seed, budget, 100 * step_seconds * budget / speedup,
            2 - 0.2 * math.log2(budget) + worse + 0.01 * (seed - 3),
        )
        for seed in SEEDS
        for budget in BUDGETS
    ]  # fmt: skip


def comparison(*cells: list[Cell]) -> Comparison:
    return Comparison("t", "c", "", tuple(one for of in cells for one in of), target=Target())


def found(of: Comparison, kind: str = "loss") -> dict[str, tuple[float, float, float, int]]:
    goal = {goal.kind: goal for goal in goals(of)}[kind]
    return {one.name: (one.speedup, one.low, one.high, one.reached) for one in to_goal(of, goal)}


def test_the_goals_are_the_single_workers_median_and_its_wer_with_a_margin() -> None:
    of = comparison(ladder("none", 1, 1), ladder("average", 4, 4))
    loss, wer = goals(of)
    assert (loss.kind, wer.kind) == ("loss", "eval")
    assert loss.value == pytest.approx(2.0) and wer.value == pytest.approx(20 * 1.02)


def test_who_learns_as_much_from_a_frame_is_as_much_faster_as_its_frames() -> None:
    result = found(comparison(ladder("none", 1, 1), ladder("average", 4, 3.5)))
    assert result["one worker"] == pytest.approx((1, 1, 1, 5))
    assert result["average, K = 4"] == pytest.approx((3.5, 3.5, 3.5, 5))


def test_who_learns_less_needs_more_frames_on_a_completed_schedule() -> None:
    """A loss worse by 0.1 is half of a doubling: 2 ** 0.5 times the frames."""
    result = found(comparison(ladder("none", 1, 1), ladder("average", 4, 4, worse=0.1)))
    assert result["average, K = 4"][0] == pytest.approx(4 / math.sqrt(2))


def test_never_is_infinite_time() -> None:
    of = comparison(ladder("none", 1, 1), ladder("average", 16, 16, worse=1.0))
    assert found(of)["average, K = 16"] == (0, 0, 0, 0)
    (text,) = (speedup_text(one) for one in to_goal(of, goals(of)[0]) if one.workers == 16)
    assert text == "never (0.00 to 0.00), 0 of 5 seeds"


def test_time_is_that_of_the_fastest_single_worker() -> None:
    """A single worker with other minibatches, as good and twice as fast, halves the speedup of all others."""
    fast = [replace(one, label="large", name=f"l{one.name}") for one in ladder("none", 1, 1, step_seconds=0.5)]
    result = found(comparison(ladder("none", 1, 1), fast, ladder("average", 4, 4)))
    assert result["average, K = 4"][0] == pytest.approx(2)
    assert sorted(value[0] for name, value in result.items() if "one worker" in name) == pytest.approx([0.5, 1])


def test_a_bound_where_the_smallest_budget_is_enough() -> None:
    of = comparison(ladder("none", 1, 1), ladder("average", 4, 4, worse=-1.0))
    own = {one.name: one for one in to_goal(of, goals(of)[0])}["average, K = 4"]
    assert own.at_least and own.speedup == pytest.approx(8) and speedup_text(own).startswith("at least 8.00 (")


def test_some_seeds_that_diverge_widen_the_interval_down_to_never() -> None:
    cells = ladder("average", 4, 4)
    lost = [cell("average", 4, one.seed, one.budget, 1.0, None) if one.seed < 3 else one for one in cells]
    speedup, low, high, reached = found(comparison(ladder("none", 1, 1), lost))["average, K = 4"]
    assert low == 0 and 2 < speedup <= high and reached == 3


def test_the_interval_is_of_paired_seeds() -> None:
    """Spread that seeds have in common does not widen it; spread of its own does."""
    uneven = [
        replace(one, modelled=ModelledTime((one.modelled.seconds or 0) * (1 + 0.1 * (one.seed % 2))))
        if one.modelled
        else one
        for one in ladder("average", 4, 4)
    ]
    low, high = found(comparison(ladder("none", 1, 1), uneven))["average, K = 4"][1:3]
    assert low < 4 / 1.05 and high > 4 / 1.05


def test_a_worse_network_has_columns_of_its_own(tmp_path: Path) -> None:
    cells = [*ladder("none", 1, 1), *ladder("average", 4, 4)]
    slow = [replace(one, other_seconds=(one.modelled.seconds or 0) * one.workers**0.5) for one in cells if one.modelled]
    of = replace(comparison(slow), other_network="1gbe")
    rows = target_rows(of)
    assert [len(row) for row in rows] == [5, 5, 5] and sum("1gbe" in head for head in rows[0]) == 2
    assert rows[2][1] == "4.00 (4.00 to 4.00)" and rows[2][2] == "2.00 (2.00 to 2.00)"


def test_without_a_target_there_are_no_goals() -> None:
    assert goals(replace(comparison(ladder("none", 1, 1)), target=None)) == []


@pytest.mark.parametrize(
    ("points", "seconds"),
    [
        ([(1, 3.0), (4, 1.0)], 2.0),  # half the way, in the logarithm of time
        ([(1, 2.0), (4, 1.0)], 1.0),
        ([(1, 3.0), (4, 2.5)], math.inf),
        ([(1, math.inf), (4, 1.0)], 4.0),  # the first one diverged
        ([(1, 3.0), (4, 2.0), (8, 2.5)], 4.0),
        ([], math.inf),
    ],
)
def test_interpolation(points: list[tuple[float, float]], seconds: float) -> None:
    assert time_to(points, 2.0) == pytest.approx(seconds)


def status(cells: list[Cell], **of: str) -> list[Cell]:
    """The cells, those of seeds s1, s2 and so on with another status."""
    return [
        replace(one, status=of[f"s{one.seed}"], learning_curve=(), wer={}, modelled=None)
        if f"s{one.seed}" in of
        else one
        for one in cells
    ]


def test_what_is_missing_or_failed_says_nothing_and_what_diverged_never_reached_it() -> None:
    alone, four = ladder("none", 1, 1), ladder("average", 4, 4)
    name = "average, K = 4"
    assert name not in found(
        comparison(alone, status(four, **dict.fromkeys(("s1", "s2", "s3", "s4", "s5"), "missing")))
    )
    assert found(comparison(alone, status(four, s1="failed", s2="missing", s3="failed")))[name] == pytest.approx(
        (4, 4, 4, 2)
    )
    speedup, low, _, reached = found(comparison(alone, status(four, s1="diverged", s2="diverged", s3="diverged")))[name]
    assert (speedup, low, reached) == (0, 0, 2)


def test_a_single_worker_with_fewer_seeds_than_asked_for_sets_no_target() -> None:
    cells = status(ladder("none", 1, 1), s1="missing")
    assert goals(comparison(cells)) == []
    assert target_text(comparison(cells)) == "No target: no single worker has 5 completed seeds."
    other = [replace(one, label="large", name=f"l{one.name}") for one in ladder("none", 1, 1, worse=0.1)]
    assert [goal.set_by for goal in goals(comparison(cells, other))] == ["one worker, large"] * 2


def test_a_bound_on_the_single_workers_time_bounds_the_speedup() -> None:
    """With no budget below 1 the single worker reaches the WER with its margin at once."""
    cells = [one for one in ladder("none", 1, 1) + ladder("average", 4, 3.2, worse=0.05) if one.budget >= 1]
    of = comparison(cells)
    one, four = to_goal(of, goals(of)[1])
    assert not one.at_most and one.speedup == 1
    assert four.at_most and speedup_text(four).startswith("at most ")
    better = [one for one in ladder("average", 4, 3.2, worse=-0.5) if one.budget >= 1]
    of = comparison(cells[:15], better)
    assert speedup_text(to_goal(of, goals(of)[1])[1]) == "unknown, the smallest budgets reach it"


def test_the_report_begins_with_it(tmp_path: Path) -> None:
    of = comparison(ladder("none", 1, 1), ladder("average", 4, 3.5), ladder("average", 16, 16, worse=1.0))
    write_report(of, tmp_path)
    text, page = ((tmp_path / name).read_text() for name in ("RESULTS.md", "report.html"))
    assert "| average, K = 4 | 3.50 (3.50 to 3.50) | " in text
    assert "| average, K = 16 | never (0.00 to 0.00), 0 of 5 seeds | " in text
    assert 'id="target"' in page and text.index("## Speedup to the target") < text.index("## By number of workers")
    write_report(replace(of, target=None), tmp_path)
    assert 'id="target"' not in (tmp_path / "report.html").read_text()


def test_a_single_worker_that_failed_is_said() -> None:
    lost = status(ladder("none", 1, 1), **dict.fromkeys(("s1", "s2", "s3", "s4", "s5"), "failed"))
    assert target_text(comparison(lost, ladder("average", 4, 4))).startswith("No target: no single worker")
