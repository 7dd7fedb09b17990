"""A single worker that an algorithm moves, as a contestant: from the file to trials, clock and report."""

import json
from pathlib import Path

import pytest
from test_collect import cells, matrix, trained

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import single_worker_of
from asr_parallel.parallel.cost import StepCost
from asr_parallel.parallel.worker_options import split
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.differences import contestants
from asr_parallel.report.groups import baseline, curves, summarise
from asr_parallel.report.paper import results_markdown
from asr_parallel.report.target import contestants_by_name, goals

CELL = "algorithm: block-momentum, workers: [1, 4], label: outer, baseline: false"
OPTIONS = "options: {outer_rate: 0.5, outer_momentum: 0, period: 5}"
LONE, SEVERAL, PLAIN = (
    f"{name}_s1" for name in ("block-momentum_1_sgd_outer", "block-momentum_4_sgd_outer", "none_1_sgd")
)


def read(folder: Path, cell: str = f"{CELL}, {OPTIONS}", more: str = "") -> Matrix:
    return matrix(folder, f"{{cells: [{{{cell}, optimizer: sgd}}], options: {{minibatch: 64}}{more}}}")


def test_it_is_compared_with_the_plain_one_and_no_baseline_of_others(tmp_path: Path) -> None:
    found = {one.name: one for one in read(tmp_path).trainings}
    assert list(found) == [PLAIN, LONE, SEVERAL]
    assert [one.is_plain for one in found.values()] == [True, False, False]
    assert found[LONE].training_options.algorithm.outer_rate == 0.5 and "--outer-rate" in found[LONE].words()
    for one in found.values():
        assert single_worker_of(one, found.values()).name == PLAIN


def test_a_labelled_baseline_is_its_baseline(tmp_path: Path) -> None:
    wide = "algorithm: average, workers: [1], label: outer, optimizer: sgd, options: {hidden_dim: 8}"
    lone = f"{CELL}, optimizer: sgd, options: {{hidden_dim: 8, outer_rate: 0.5}}"
    found = {one.name: one for one in matrix(tmp_path, f"{{cells: [{{{wide}}}, {{{lone}}}]}}").trainings}
    assert list(found) == ["none_1_sgd_outer_s1", LONE, SEVERAL]
    assert single_worker_of(found[LONE], found.values()).name == "none_1_sgd_outer_s1"


def test_without_the_key_one_worker_is_the_plain_one(tmp_path: Path) -> None:
    found = read(tmp_path, CELL.replace(", baseline: false", ""))
    assert [one.name for one in found.trainings] == ["none_1_sgd_outer_s1", SEVERAL]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("algorithm: block-momentum, workers: [4], baseline: false", r"workers \[4\]; expected 1 among them"),
        ("algorithm: average, workers: [1], baseline: false", "one worker of average is a plain one; expected one of"),
        ("algorithm: gradient, workers: [1], baseline: false", "one worker of gradient is a plain one"),
        (CELL, "block-momentum_1_sgd_outer_s1: at rate 1 and without momentum one worker of block-momentum is a plain"),
        (
            f"{CELL}, options: {{outer: bmuf, outer_rate: 1}}",
            "without momentum one worker of block-momentum is a plain",
        ),
        ("algorithm: elastic, workers: [1], baseline: 1", "baseline 1: expected true or false"),
    ],
)
def test_refused(tmp_path: Path, cell: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path, cell)


def test_one_with_data_of_its_own_needs_a_labelled_baseline(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hidden_dim 8, and .*expected a baseline cell of its label too"):
        read(tmp_path, f"{CELL.replace('[1, 4]', '[1]')}, options: {{outer_rate: 0.5, hidden_dim: 8}}")


@pytest.mark.parametrize("own", ["outer: slowmo", "outer_rate: 0.5", "outer_momentum: 0.2", "ema: 0.9"])
def test_block_momentum_that_moves_one_worker(tmp_path: Path, own: str) -> None:
    assert LONE in {one.name for one in read(tmp_path, f"{CELL}, options: {{{own}}}").trainings}


@pytest.mark.parametrize(
    "cell",
    ["algorithm: elastic", "algorithm: colearn", "algorithm: mdownpour", "algorithm: average, options: {ema: 0.9}"],
)
def test_algorithms_that_move_one_worker(tmp_path: Path, cell: str) -> None:
    assert len(read(tmp_path, f"{cell}, workers: [1], baseline: false").trainings) == 2


def test_it_is_tuned_in_all_options_that_it_has(tmp_path: Path) -> None:
    ranges = "learning_rate: {log: [0.001, 0.1]}, outer_rate: {log: [0.1, 1]}, outer_momentum: {linear: [0, 0.9]}"
    tune = f", tune: {{trials: 4, space: {{{ranges}}}}}"
    found = read(tmp_path, f"{CELL}, options: {{period: 5}}", tune).trials()
    assert {name: set(trials[0][0]) for name, trials in found.items()} == {
        PLAIN[:-3]: {"learning_rate"},
        LONE[:-3]: {"learning_rate", "outer_rate", "outer_momentum"},
        SEVERAL[:-3]: {"learning_rate", "outer_rate", "outer_momentum"},
    }
    (points, rates) = ([values for values, _ in found[name[:-3]]] for name in (LONE, SEVERAL))
    assert points == rates


def test_the_report_has_it_as_a_system(tmp_path: Path) -> None:
    of = read(tmp_path, more=", seeds: [1, 2]")
    for name, losses in {PLAIN: [3.0, 2.0], LONE: [2.5, 1.5], SEVERAL: [2.8, 1.8]}.items():
        for seed in (1, 2):
            trained(tmp_path / f"{name[:-1]}{seed}", losses)
    found = cells(of, tmp_path)
    lone, plain = found[LONE], found[PLAIN]
    assert plain.is_plain and not lone.is_plain and not found[SEVERAL].moved
    assert (lone.period, lone.syncs, lone.bytes_per_worker) == (5, 12, None) and plain.syncs is None
    assert lone.speedup_frames == pytest.approx(1) and lone.speedup_loss == pytest.approx(1 / 0.75)
    comparison = Comparison("", "", "", tuple(found.values()))
    groups = summarise(comparison)
    names = [group.name for group in groups]
    assert names == ["one worker", "block-momentum, outer, K = 1", "block-momentum, outer, K = 4"]
    assert [baseline(group, groups).name for group in groups] == ["one worker"] * 3
    (curve,) = curves(groups)
    assert [group.name for group in curve.groups] == names
    assert [one.group.name for one in contestants(comparison, groups)] == names[1:]
    assert all(one.base.name == "one worker" for one in contestants(comparison, groups))
    assert "| block-momentum, outer | 1 |" in results_markdown(comparison)
    assert Comparison.open(_saved(comparison, tmp_path / "c.json")).cells[2].moved


def _saved(comparison: Comparison, path: Path) -> Path:
    comparison.save(path)
    return path


def test_what_a_training_without_statistics_says(tmp_path: Path) -> None:
    """It has no synchronizations to report."""
    of = read(tmp_path, "algorithm: average, workers: [1], baseline: false, options: {ema: 0.9}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
        (tmp_path / one.name / "sync_stats.json").unlink()
    cell = cells(of, tmp_path)["average_1_sgd_s1"]
    assert cell.status == "done" and cell.syncs is None and cell.moved


def test_it_sets_no_target(tmp_path: Path) -> None:
    budgets = ", seeds: [1, 2], budgets: [1], target: {seeds: 2}"
    of = read(tmp_path, more=budgets)
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0 if one.is_plain else 1.0])
    found = Comparison("", "", "", tuple(cells(of, tmp_path).values()), target=of.target)
    assert [goal.set_by for goal in goals(found)] == ["one worker"]
    assert "block-momentum, outer, K = 1" in contestants_by_name(found)


def test_the_clock_counts_what_it_computes_and_no_message() -> None:
    def epoch(algorithm: str, workers: int, sync_seconds: float, **options: object) -> ModelledClock:
        chosen, own = split(workers=workers, algorithm=algorithm, period=10, **options)
        work = StepCost(0.01, 100, 1_000_000, sync_seconds=sync_seconds)
        return ModelledClock(chosen, work, PRESETS["1gbe"], 1e5, constants=own)

    for algorithm in ("block-momentum", "elastic"):
        parts = epoch(algorithm, 1, 0.02).epoch()
        assert (parts.compute, parts.wait) == (pytest.approx(10), pytest.approx(0, abs=1e-9))
        assert parts.exchange == pytest.approx(1000 / 10 * 0.02)
        assert epoch(algorithm, 1, 0.0).speedup() == pytest.approx(1)
        assert epoch(algorithm, 1, 0.02).speedup() == pytest.approx(10 / 12)
    assert epoch("average", 1, 0.02).epoch().exchange == 0  # a plain single worker
    assert epoch("downpour", 1, 0.02).epoch().exchange == 0


def test_the_file_is_read_as_its_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"cells": [
        {"algorithm": "block-momentum", "workers": [1], "label": "Lookahead", "baseline": False,
         "options": {"period": 5, "outer_rate": 0.5, "outer_momentum": 0}}
    ]}))  # fmt: skip
    assert [one.name for one in Matrix.read(tmp_path / "c.json").trainings] == [
        "none_1_ng-sgd_s1", "block-momentum_1_ng-sgd_Lookahead_s1",
    ]  # fmt: skip
