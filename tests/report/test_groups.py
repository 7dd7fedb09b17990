"""Means over seeds, what is compared with what, and the frontier."""

import math
import statistics
from dataclasses import replace

import made_up
import numpy as np
import pytest
from small_cells import compare, of_speakers, point

from asr_parallel.report.comparison import Cell, WordErrors
from asr_parallel.report.groups import Group, SeedMean, baseline, curves, diverged, frontier, scorers, sets, summarise


def test_mean() -> None:
    assert SeedMean.of([4.9, None, 4.8, 5.7]) == SeedMean(
        statistics.fmean([4.9, 4.8, 5.7]), pytest.approx(0.4933, abs=1e-4), 3
    )
    assert SeedMean.of([2.0]) == SeedMean(2.0, None, 1)
    assert SeedMean.of([None]) is None


def test_seeds_are_put_together() -> None:
    groups = summarise(made_up.comparison())
    of = {group.name: group for group in groups}
    average = of["average, ng-sgd, K = 4"]
    assert [cell.seed for cell in average.cells] == [1, 2, 3]
    wers = [cell.wer["eval"].wer for cell in average.cells]
    assert average.wer("eval") == SeedMean(statistics.fmean(wers), statistics.stdev(wers), 3)
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
        "average, ng-sgd": [1, 2, 4, 8, 16], "elastic, ng-sgd": [1, 2, 4, 8], "gradient, ng-sgd": [1, 2, 4, 8, 16],
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
    """And never is infinite time: what got there is not all there is."""

    def to_loss(*speedups: float | None) -> Group:
        return summarise(compare(*(point("a", 2, 10.0, 1.5, n, speedup_loss=s) for n, s in enumerate(speedups))))[0]

    for speedups, expected, reached in (
        ((1.5, 0.0), None, (1, 2)), ((3.0, 0.0, 1.2), 1.2, (2, 3)), ((3.0, 0.0, 0.0), None, (1, 3)),
        ((3.0, 1.0, 2.0, 0.0), 1.0, (3, 4)), ((3.0, 1.0, 2.0), 2.0, (3, 3)), ((3.0, None, 2.0), 2.0, (2, 2)),
        ((0.0,), None, (0, 1)), ((None,), None, (0, 0)),
    ):  # fmt: skip
        group = to_loss(*speedups)
        found = group.speedup("speedup_loss")
        # The median of the times, of two in the middle the longer one
        times = sorted(1 / s if s else math.inf for s in speedups if s is not None)
        slow = times[len(times) // 2] if times else math.inf
        assert (found.value if found else None) == expected and group.reached == reached
        assert expected == (1 / slow if slow < math.inf else None)
        assert (group.point("speedup_loss", "eval") is not None) == (reached == (len(speedups),) * 2)


def test_an_interval_over_seeds_has_the_spread_of_speakers_and_of_seeds() -> None:
    """Plain formulas: the variances of a mean of S speakers and of one of n seeds add up."""
    random = np.random.default_rng(1)
    speakers, seeds = random.integers(5, 40, 30), np.array([0, 3, 6])
    cells = [of_speakers("a", 2, n, [int(s + d) for s in speakers]) for n, d in enumerate(seeds)]
    (group,) = summarise(compare(*cells))
    low, high = group.interval("eval")
    mean = speakers.mean() + seeds.mean()
    deviation = math.sqrt(speakers.var() / len(speakers) + seeds.var() / len(seeds))
    assert (low + high) / 2 == pytest.approx(mean, abs=0.3)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    assert high - low > 1.1 * 2 * 1.96 * math.sqrt(speakers.var() / len(speakers))  # the mean of each seed's ends


def test_what_diverged_is_in_no_mean_and_nothing_is_compared_with_it() -> None:
    lost = Cell("n 1 2", "none", 1, "sgd", 2, "diverged", error="training diverged")
    base, own = summarise(
        compare(point("n", 1, 10.0, None), lost, point("a", 2, 9.0, 2.0), point("a", 2, 30.0, 2.0, seed=2))
    )
    assert base.wer("eval") == SeedMean(10.0, None, 1) and base.lost == "1 of 2 diverged" and own.lost == ""
    assert diverged([base, own]) == "one worker (1 of 2 diverged)" and diverged([own]) == ""
    alone = summarise(compare(lost, point("a", 2, 9.0, 2.0)))
    assert alone[0].lost == "diverged" and alone[0].speedup("speedup_frames") is None
    assert alone[0].point("speedup_frames", "eval") is None


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


def test_the_sets_of_a_comparison_come_in_its_order() -> None:
    errors = WordErrors(1000, 10.0, 100, 0, 0)
    cell = replace(point("average", 2, 10.0, 1.5), wer={name: errors for name in ("a", "dev", "eval", "z")})
    of_old_versions = compare(cell)
    assert sets(of_old_versions) == ["eval", "dev", "a", "z"]
    assert sets(replace(of_old_versions, sets=("z", "a", "not scored"))) == ["z", "a", "dev", "eval"]
