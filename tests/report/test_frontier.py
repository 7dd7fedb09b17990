"""Means over seeds, what is compared with what, and the frontier."""

import statistics
from dataclasses import replace

import made_up
import pytest

from asr_parallel.report.comparison import Cell, Comparison, WordErrors
from asr_parallel.report.frontier import Mean, baseline, curves, frontier, scorers, sets, summarise


def point(name: str, workers: int, wer: float, speedup: float | None, seed: int = 1, **more: object) -> Cell:
    errors = WordErrors(1000, wer, round(10 * wer), 0, 0)
    known: dict = {"wer": {"eval": errors}, "speedup_frames": speedup, "speedup_loss": speedup}
    algorithm = "none" if workers == 1 else name
    return Cell(f"{name} {workers} {seed}", algorithm, workers, "sgd", seed, "done", **(known | more))


def compare(*cells: Cell) -> Comparison:
    return Comparison("", "", "", cells)


def test_mean() -> None:
    assert Mean.of([4.9, None, 4.8, 5.7]) == Mean(statistics.fmean([4.9, 4.8, 5.7]), pytest.approx(0.4933, abs=1e-4), 3)
    assert Mean.of([2.0]) == Mean(2.0, None, 1)
    assert Mean.of([None]) is None


def test_seeds_are_put_together() -> None:
    groups = summarise(made_up.comparison())
    of = {group.name: group for group in groups}
    average = of["average, ng-sgd, K = 4"]
    assert [cell.seed for cell in average.cells] == [1, 2, 3]
    wers = [cell.wer["eval"].wer for cell in average.cells]
    assert average.wer("eval") == Mean(statistics.fmean(wers), statistics.stdev(wers), 3)
    assert average.interval("eval") == pytest.approx((0.88 * statistics.fmean(wers), 1.13 * statistics.fmean(wers)))
    assert "average, period 1, ng-sgd, K = 8" in of and "one worker, sgd" in of
    assert [group.name for group in groups if group.is_baseline] == ["one worker, ng-sgd", "one worker, sgd"]


def test_failed_and_missing_cells_count_for_nothing() -> None:
    of = {group.name: group for group in summarise(made_up.comparison())}
    ensemble = of["ensemble, ng-sgd, K = 8"]
    wer = ensemble.wer("eval")
    assert len(ensemble.cells) == 3 and wer is not None and wer.n == 2
    missing = of["gradient, ng-sgd, K = 16"]
    assert missing.wer("eval") is None and missing.speedup("speedup_frames") is None and missing.done == []
    failed = replace(point("a", 2, 10, 2.0), status="failed")
    assert summarise(compare(failed))[0].wer("eval") is None


def test_what_each_is_compared_with() -> None:
    groups = summarise(made_up.comparison())
    for group in groups:
        found = baseline(group, groups)
        assert found is not None and found.workers == 1 and found.first.optimizer == group.first.optimizer
    lonely = summarise(made_up.bare())
    assert baseline(lonely[0], lonely) is None
    variants = compare(
        point("n", 1, 10, None), point("r", 1, 10, None, label="random"), point("a", 2, 10, 2.0, label="random")
    )
    groups = summarise(variants)
    found = baseline(groups[2], groups)
    assert found is not None and found.first.label == "random"
    assert [group.name for group in groups] == ["one worker", "one worker, random", "a, random, K = 2"]


def test_systems_are_named_by_what_tells_them_apart() -> None:
    periods = compare(*(point("a", 2, 10, 2.0, seed=p, period=p) for p in (4, 16)), point("b", 2, 10, 2.0, period=4))
    assert [group.system for group in summarise(periods)] == ["a, period 4", "a, period 16", "b"]


def test_curves_begin_at_one_worker() -> None:
    groups = summarise(made_up.comparison())
    of = {curve.system: [group.workers for group in curve.groups] for curve in curves(groups)}
    assert of == {
        "average, ng-sgd": [1, 2, 4, 8], "elastic, ng-sgd": [1, 2, 4, 8], "gradient, ng-sgd": [1, 2, 4, 8, 16],
        "ensemble, ng-sgd": [1, 2, 4, 8], "average, sgd": [1, 4], "average, period 1, ng-sgd": [1, 8],
    }  # fmt: skip
    alone = curves(summarise(compare(point("n", 1, 10, None))))
    assert [curve.system for curve in alone] == ["one worker"]


def test_frontier() -> None:
    comparison = compare(
        point("n", 1, 10.0, None), point("a", 2, 10.5, 1.8), point("b", 2, 10.5, 1.7), point("c", 2, 9.9, 1.5),
        point("a", 4, 12.0, 3.0), point("b", 4, 12.1, 3.0), point("c", 4, 11.0, None), point("d", 4, 12.0, 3.0),
    )  # fmt: skip
    best = frontier(summarise(comparison), "speedup_frames", "eval")
    assert [group.name for group in best] == ["c, K = 2", "a, K = 2", "d, K = 4", "a, K = 4"]
    assert frontier(summarise(comparison), "speedup_frames", "dev") == []


def test_one_worker_has_a_speedup_of_one() -> None:
    groups = summarise(compare(point("n", 1, 10.0, None), point("a", 2, 10.5, None)))
    assert [group.point("speedup_loss", "eval") for group in groups] == [(1.0, 10.0), None]


def test_a_loss_that_only_some_seeds_reached_is_on_no_curve() -> None:
    groups = summarise(compare(point("a", 2, 10.0, 1.5, 1), point("a", 2, 11.0, None, 2)))
    assert groups[0].speedup("speedup_loss") == Mean(1.5, None, 1)
    assert groups[0].point("speedup_loss", "eval") is None


def test_a_word_error_rate_of_other_frames_is_not_set_against_speedup_for_the_same() -> None:
    """But what is left over for want of a minibatch does not count."""
    groups = summarise(
        compare(
            point("n", 1, 10.0, None, frames=100_000), point("a", 4, 9.0, 3.8, frames=200_000),
            point("b", 4, 9.5, 3.7, frames=99_000), point("c", 4, 9.6, 3.6),
        )
    )  # fmt: skip
    assert [group.same_frames for group in groups] == [True, False, True, True]
    assert [group.point("speedup_frames", "eval") for group in groups][1:] == [None, (3.7, 9.5), (3.6, 9.6)]
    assert groups[1].point("speedup_loss", "eval") == (3.8, 9.0)
    assert groups[1] not in frontier(groups, "speedup_frames", "eval")


def test_sets_and_scorers() -> None:
    comparison = made_up.comparison()
    assert sets(comparison) == ["eval", "dev"] and scorers(comparison) == "asr-parallel hub5"
    dev = WordErrors(10, 10.0, 1, 0, 0, scorer="another")
    wer = {"eval": WordErrors(10, 10.0, 1, 0, 0, scorer="one"), "dev": dev}
    two = compare(replace(point("a", 2, 10.0, 1.5), wer=wer))
    assert scorers(two) == "another and one" and scorers(two, ["dev"]) == "another"
    assert sets(made_up.bare()) == [] and scorers(made_up.bare()) == "unknown scorer"
