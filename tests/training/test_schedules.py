"""Schedules: Kaldi's constants and rules case by case, and what holds for any rates and any numbers of frames."""

import itertools
import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_parallel.parallel.state import State
from asr_parallel.training import schedules
from asr_parallel.training.schedules import Constant, Cyclical, Exponential, Newbob, Schedule

NAN = float("nan")
rates = st.floats(1e-8, 10.0)
frame_counts = st.integers(1, 10**12)
shapes = st.sampled_from(["exponential", "cosine"])


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("INITIAL_EFFECTIVE_RATE", 3e-4),
        ("FINAL_EFFECTIVE_RATE", 3e-5),
        ("START_HALVING", 0.01),
        ("END_HALVING", 0.001),
        ("HALVING_FACTOR", 0.5),
        ("MAX_EPOCHS", 20),
        ("MIN_EPOCHS", 0),
        ("KEEP_EPOCHS", 0),
    ],
)
def test_constants_are_kaldi_s(constant: str, value: float) -> None:
    assert getattr(schedules, constant) == value


def test_defaults_are_the_constants() -> None:
    plan = Exponential(total_frames=10)
    assert (plan.effective_rate(0), plan.effective_rate(10), plan.num_jobs) == (3e-4, 3e-5, 1)
    newbob = Newbob(rate=0.008, best_loss=5.0)
    assert (newbob.max_epochs, newbob.min_epochs, newbob.keep_epochs, newbob.halve_from) == (20, 0, 0, None)


def test_exponential_follows_kaldi() -> None:
    """Kaldi's get_learning_rate() with 25 of 100 archives processed by 8 jobs: 8 * 3e-4 * 10^(-25/100)."""
    plan = Exponential(total_frames=100 * 400_000, num_jobs=8)
    assert plan.learning_rate(25 * 400_000) == pytest.approx(8 * 3e-4 * 10**-0.25)


@given(rates, rates, frame_counts, st.lists(st.integers(0, 2 * 10**12), min_size=2))
def test_exponential_is_monotone_between_exact_ends(first: float, last: float, total: int, counts: list[int]) -> None:
    plan = Exponential(total_frames=total, initial_effective_rate=first, final_effective_rate=last)
    values = [plan.effective_rate(frames) for frames in sorted([0, *counts, total])]
    assert values == sorted(values, reverse=first > last)
    assert (plan.effective_rate(0), plan.effective_rate(total), plan.effective_rate(2 * total)) == (first, last, last)


@given(st.integers(1, 64), st.integers(0, 10**9))
def test_effective_rate_does_not_depend_on_the_number_of_jobs(num_jobs: int, frames: int) -> None:
    alone, together = Exponential(total_frames=10**9), Exponential(total_frames=10**9, num_jobs=num_jobs)
    assert together.effective_rate(frames) == alone.effective_rate(frames)
    assert together.learning_rate(frames) == num_jobs * alone.learning_rate(frames)


@given(rates, rates, st.integers(1, 1000), shapes, st.integers(0, 50))
def test_cycles_fall_and_start_again(one: float, other: float, cycle: int, shape: str, number: int) -> None:
    top, bottom = max(one, other), min(one, other)
    plan = Cyclical(total_frames=10**6, top=top, bottom=bottom, cycle_frames=cycle, shape=shape)  # type: ignore[arg-type]
    start = number * cycle
    values = [plan.learning_rate(start + k) for k in range(cycle)]
    assert values[0] == plan.learning_rate(start + cycle) == top
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(values))
    assert all(bottom <= value <= top for value in values)
    assert values == [plan.learning_rate(k) for k in range(cycle)]


@pytest.mark.parametrize(("shape", "half_way"), [("exponential", 0.1), ("cosine", 0.505)])
def test_shape_of_a_cycle(shape: str, half_way: float) -> None:
    plan = Cyclical(total_frames=300, top=1.0, bottom=0.01, cycle_frames=100, shape=shape)  # type: ignore[arg-type]
    assert plan.learning_rate(150) == pytest.approx(half_way)
    assert plan.learning_rate(199) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(total_frames=300, rate=0.1),
        lambda: Exponential(total_frames=300),
        lambda: Cyclical(total_frames=300, top=0.1, bottom=0.01, cycle_frames=100),
    ],
)
def test_a_plan_ends_after_its_frames(make: Callable[[], Schedule]) -> None:
    plan = make()
    seen = [(plan.end_epoch(frames, loss), plan.finished) for frames, loss in [(100, 9.0), (200, NAN), (300, 10.0)]]
    assert seen == [(True, False), (False, False), (True, True)]


@pytest.mark.parametrize(
    ("losses", "accepted", "after", "finished_after"),
    [
        # steady gains: the rate stays; a gain of 0.5 % starts halving; one of 0.05 % while halving ends training
        ([8.0, 6.0, 5.97, 5.0, 4.9975], [1, 1, 1, 1, 1], [1, 1, 0.5, 0.25, 0.25], 5),
        # a worse epoch is rejected and starts halving; the next is measured against the best, not against it
        ([8.0, 9.0, 7.0, 6.9995], [1, 0, 1, 1], [1, 0.5, 0.25, 0.25], 4),
        # two worse ones: the second ends it
        ([8.0, 9.0, 9.0], [1, 0, 0], [1, 0.5, 0.5], 3),
        # not a number is worse than anything
        ([NAN, 9.0, 8.0], [0, 1, 1], [0.5, 0.25, 0.125], None),
        # gains of just over 1 % are enough to go on at the full rate
        ([9.8, 9.7], [1, 1], [1, 1], None),
        # of a loss of 0 no gain can be taken
        ([0.0, 0.0, 0.0], [1, 0, 0], [1, 0.5, 0.5], 3),
    ],
)
def test_newbob(losses: list[float], accepted: list[int], after: list[float], finished_after: int | None) -> None:
    schedule = Newbob(rate=1.0, best_loss=10.0)
    for k, (loss, want, rate) in enumerate(zip(losses, accepted, after, strict=True), start=1):
        assert schedule.end_epoch(100 * k, loss) == bool(want), k
        assert schedule.learning_rate(100 * k) == rate, k
        assert schedule.finished == (k == finished_after), k


def test_newbob_keeps_its_first_epochs_whatever_they_bring() -> None:
    schedule = Newbob(rate=1.0, best_loss=10.0, keep_epochs=3)
    assert [schedule.end_epoch(0, loss) for loss in (12.0, 13.0, NAN, 11.0)] == [True, True, False, True]
    assert (schedule.rate, schedule.best_loss) == (1.0, 11.0)


def test_newbob_trains_at_least_min_epochs() -> None:
    schedule = Newbob(rate=1.0, best_loss=10.0, min_epochs=3)
    seen = [(schedule.end_epoch(0, 10.0), schedule.rate, schedule.finished) for _ in range(4)]
    assert seen == [(True, 0.5, False), (True, 0.5, False), (True, 0.5, False), (False, 0.5, True)]


def test_newbob_trains_at_most_max_epochs() -> None:
    schedule = Newbob(rate=1.0, best_loss=10.0, max_epochs=2)
    assert [(schedule.end_epoch(0, loss), schedule.finished) for loss in (5.0, 2.0)] == [(True, False), (True, True)]
    assert Newbob(rate=1.0, best_loss=10.0, max_epochs=0).finished


def test_newbob_halves_when_it_is_told_to() -> None:
    schedule = Newbob(rate=1.0, best_loss=10.0, halve_from=2)
    seen = [(schedule.end_epoch(0, loss), schedule.rate) for loss in (5.0, 4.0, 3.0, 2.0)]
    assert seen == [(True, 1.0), (True, 0.5), (True, 0.25), (True, 0.125)]
    assert not schedule.finished


MAKERS: list[Callable[[], Schedule]] = [
    lambda: Constant(total_frames=1000, rate=0.1),
    lambda: Exponential(total_frames=1000, num_jobs=3),
    lambda: Cyclical(total_frames=1000, top=0.1, bottom=0.01, cycle_frames=170, shape="cosine"),
    lambda: Newbob(rate=0.008, best_loss=5.0, keep_epochs=1, halve_from=8),
]


@given(st.sampled_from(MAKERS), st.lists(st.floats(0.0, 6.0) | st.just(NAN), max_size=12), st.integers(0, 12))
def test_a_restored_schedule_goes_on_identically(make: Callable[[], Schedule], losses: list[float], cut: int) -> None:
    def go_on(schedule: Schedule, part: list[float], start: int) -> list[tuple[float, bool, bool]]:
        seen = []
        for k, loss in enumerate(part, start=start + 1):
            rate = schedule.learning_rate(90 * k)
            seen.append((rate, schedule.end_epoch(100 * k, loss), schedule.finished))
        return seen

    cut = min(cut, len(losses))
    first, second = make(), make()
    whole = go_on(make(), losses, 0)
    begun = go_on(first, losses[:cut], 0)
    values = json.loads(json.dumps(dict(first.state_dict().values), allow_nan=False))
    second.load_state_dict(State(values=values))
    assert second.state_dict() == first.state_dict()
    assert begun + go_on(second, losses[cut:], cut) == whole


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN, math.inf])
def test_bad_rates_are_refused(bad: float) -> None:
    for make in (
        lambda: Constant(total_frames=1, rate=bad),
        lambda: Exponential(total_frames=1, initial_effective_rate=bad),
        lambda: Exponential(total_frames=1, final_effective_rate=bad),
        lambda: Cyclical(total_frames=1, top=bad, bottom=0.1, cycle_frames=1),
        lambda: Cyclical(total_frames=1, top=0.1, bottom=bad, cycle_frames=1),
        lambda: Newbob(rate=bad, best_loss=1.0),
    ):
        with pytest.raises(ValueError, match="expected a finite number above 0"):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(total_frames=0, rate=0.1), "total_frames 0: expected"),
        (lambda: Exponential(total_frames=9, num_jobs=0), "num_jobs 0: expected"),
        (lambda: Cyclical(total_frames=9, top=0.1, bottom=0.1, cycle_frames=0), "cycle_frames 0: expected"),
        (lambda: Cyclical(total_frames=9, top=0.1, bottom=0.2, cycle_frames=1), "bottom 0.2: expected at most"),
        (
            lambda: Cyclical(total_frames=9, top=0.1, bottom=0.1, cycle_frames=1, shape="saw"),  # type: ignore[arg-type]
            "shape 'saw': expected",
        ),
        (lambda: Newbob(rate=0.1, best_loss=NAN), "best_loss nan: expected"),
        (lambda: Newbob(rate=0.1, best_loss=1.0, max_epochs=-1), "max_epochs -1: expected"),
        (lambda: Newbob(rate=0.1, best_loss=1.0, min_epochs=21), "min_epochs 21: expected at most max_epochs, 20"),
        (
            lambda: Newbob(rate=0.1, best_loss=1.0).load_state_dict(
                State(values={"schedule": "Constant", "frames": 1})
            ),
            "Constant: expected",
        ),
        (
            lambda: Constant(total_frames=9, rate=0.1).load_state_dict(State(values={"schedule": "Constant"})),
            "Constant: expected frames",
        ),
    ],
)
def test_bad_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
