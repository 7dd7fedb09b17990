"""Where a course of losses first is as low as another."""

import math

import pytest

from asr_parallel.compare.collect import reached

COURSE = [(10.0, 3.0), (20.0, 2.0), (40.0, 1.0), (50.0, 1.5)]


@pytest.mark.parametrize(
    ("loss", "where"), [(3.5, 10), (3.0, 10), (2.5, 15), (2.0, 20), (1.25, 35), (1.0, 40), (0.9, None)]
)
def test_between_two_points_on_a_straight_line(loss: float, where: float | None) -> None:
    assert reached(COURSE, loss) == where


def test_what_is_not_known_is_left_out() -> None:
    assert reached([(10.0, 3.0), (15.0, None), (None, 0.5), (17.0, math.inf), (18.0, math.nan), *COURSE[1:]], 2.5) == 15
    assert reached([], 1.0) is None
