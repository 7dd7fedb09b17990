"""The search space of tuning: its points, and what is refused."""

import math
from typing import Any

import pytest

from asr_parallel.compare.search_space import SearchSpace, at_edge, resolved

RATIO_KEY = "final_learning_rate ratio"
RATES = {"learning_rate": {"log": [0.001, 0.064]}}


def space(trials: int = 8, **more: Any) -> SearchSpace:
    return SearchSpace.of({"trials": trials, "space": RATES} | more)


def test_every_part_of_a_range_is_tried_once() -> None:
    """That is what is better in Sobol' points than in random ones."""
    own = space()
    points = own.points(own.ranges("average", "sgd", False), {})
    rates = sorted(point["learning_rate"] for point in points)
    assert [int(8 * math.log(rate / 0.001) / math.log(64)) for rate in rates] == list(range(8))


def test_contestants_get_the_same_points_in_the_options_that_they_have() -> None:
    own = space(space=RATES | {"period": {"choices": [4, 16]}, "elastic_beta": {"linear": [0.5, 1]}})
    found = {
        (algorithm, workers): own.points(own.ranges(algorithm, "sgd", workers == 1), {})
        for algorithm, workers in (("none", 1), ("average", 4), ("elastic", 4), ("elastic", 16), ("gradient", 4))
    }
    assert {name: set(points[0]) for name, points in found.items()} == {
        ("none", 1): {"learning_rate"},
        ("average", 4): {"learning_rate", "period"},
        ("elastic", 4): {"learning_rate", "period", "elastic_beta"},
        ("elastic", 16): {"learning_rate", "period", "elastic_beta"},
        ("gradient", 4): {"learning_rate"},
    }
    assert found["elastic", 4] == found["elastic", 16]
    for points in found.values():
        assert [point["learning_rate"] for point in points] == [p["learning_rate"] for p in found["elastic", 4]]
    assert {point["period"] for point in found["average", 4]} == {4, 16}


def test_a_ratio_is_of_the_learning_rate_tuned_or_given() -> None:
    ratio = {"final_learning_rate": {"ratio": [0.01, 1]}}
    tuned, given = space(space=RATES | ratio), space(space=ratio)
    for point in tuned.points(tuned.ranges("none", "sgd", True), {}):
        options = resolved(point, {"epochs": 3})
        assert set(options) == {"epochs", "learning_rate", "final_learning_rate"}
        assert options["final_learning_rate"] == pytest.approx(point[RATIO_KEY] * point["learning_rate"], rel=1e-3)
        # Beside another learning rate, or with a final one of its own
        assert resolved(point, {"learning_rate": 10.0}, {"learning_rate"})["final_learning_rate"] == pytest.approx(
            10 * point[RATIO_KEY], rel=1e-3
        )
        own = {"final_learning_rate": 0.5}
        assert resolved(point, own, {"final_learning_rate"})["final_learning_rate"] == 0.5
    points = given.points(given.ranges("none", "sgd", True), {"learning_rate": 10.0})
    assert all(0.0099 < point[RATIO_KEY] <= 1 for point in points)
    with pytest.raises(ValueError, match="final_learning_rate is a ratio of learning_rate, which has no value"):
        given.points(given.ranges("none", "sgd", True), {})


def test_momentum_is_tuned_where_there_is_one() -> None:
    own = space(space=RATES | {"momentum": {"linear": [0.5, 0.9]}})
    found = {name: set(own.ranges("none", name, True)) for name in ("sgd", "ng-sgd", "nesterov")}
    assert found == {
        "sgd": {"learning_rate"}, "ng-sgd": {"learning_rate"}, "nesterov": {"learning_rate", "momentum"},
    }  # fmt: skip


def test_an_optimizer_may_have_ranges_of_its_own() -> None:
    own = space(optimizers={"sgd": {"learning_rate": {"log": [1, 2]}}})
    assert all(1 <= point["learning_rate"] <= 2 for point in own.points(own.ranges("none", "sgd", True), {}))
    assert all(point["learning_rate"] < 0.1 for point in own.points(own.ranges("none", "ng-sgd", True), {}))


def test_what_a_cell_gives_itself_is_kept() -> None:
    own = space(space=RATES | {"period": {"log": [1, 64]}})
    assert set(own.ranges("average", "sgd", False, frozenset({"period"}))) == {"learning_rate"}


def test_whole_numbers_stay_whole_and_repetitions_are_left_out() -> None:
    own = space(space={"period": {"log": [1, 4]}}, trials=32)
    points = own.points(own.ranges("average", "sgd", False), {})
    assert sorted(point["period"] for point in points) == [1, 2, 3, 4]
    assert all(type(point["period"]) is int for point in points)


def test_another_seed_is_another_draw_and_the_same_one_is_not() -> None:
    first, same, other = (space(seed=seed) for seed in (3, 3, 4))
    ranges = first.ranges("none", "sgd", True)
    assert first.points(ranges, {}) == same.points(ranges, {}) != other.points(ranges, {})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"space": {}}, "an empty space; expected options"),
        ({"space": {"learning_rat": {"log": [1, 2]}}}, "unknown key 'learning_rat'; expected one of"),
        ({"space": {"learning_rate": {"log": [2, 1]}}}, r"log \[2, 1\]: expected a lower and then an upper"),
        ({"space": {"learning_rate": {"log": [0, 1]}}}, "both above 0"),
        ({"space": {"learning_rate": {"log": [1, 2, 3]}}}, "expected a lower and an upper number"),
        ({"space": {"learning_rate": {"about": [1, 2]}}}, "expected one of log, linear, choices, ratio"),
        ({"space": {"learning_rate": [1, 2]}}, "expected one of log, linear, choices, ratio"),
        ({"space": {"learning_rate": {"ratio": [0.1, 1]}}}, "ratio: expected of final_learning_rate alone"),
        ({"space": {"period": {"choices": [4]}}}, "expected at least two values"),
        ({"space": {"schedule": {"log": [1, 2]}}}, "expected a lower and an upper number"),
        ({"space": {"epochs": {"log": [1, 2]}}}, "unknown key 'epochs'"),
        ({"space": {"held_out": {"linear": [0.1, 0.2]}}}, "unknown key 'held_out'"),
        ({"trials": 1}, "1 trials for 1 options; expected at least 2"),
        ({"trials": "many"}, "expected whole numbers"),
        ({"budget": 0}, "budget 0: expected a number above 0"),
        ({"optimizers": {"sdg": RATES}}, "unknown key 'sdg'"),
        ({"trails": 8}, "unknown key 'trails'"),
    ],
)
def test_refused_in_one_line(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        space(**more)
    assert len(str(error.value).splitlines()) == 1


def test_the_edge_is_that_of_the_values_tried() -> None:
    tried: list[dict[str, int | float | str]] = [
        {"learning_rate": 0.1 * n, "period": 4 * (n % 2 + 1), "schedule": "constant"} for n in range(1, 5)
    ]
    assert at_edge(tried, tried[0]) == at_edge(tried, tried[3]) == ("learning_rate",)
    assert at_edge(tried, tried[1]) == ()
