"""A number of workers that grows: as Kaldi's number of jobs does, and what options forbid."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_parallel.parallel.worker_options import split
from asr_parallel.parallel.worker_ramp import WorkerRamp
from asr_parallel.training.train_options import training_options

sizes = st.integers(1, 40).flatmap(lambda last: st.tuples(st.integers(1, last), st.just(last)))


@pytest.mark.parametrize(
    ("first", "last", "turns", "counts"),
    [
        # Kaldi's get_current_num_jobs(it, num_it, start, 1, end), for its iterations
        (1, 8, 10, [1, 2, 2, 3, 4, 5, 5, 6, 7, 7]),
        (3, 16, 8, [3, 5, 6, 8, 10, 11, 13, 14]),
        (2, 2, 3, [2, 2, 2]),
    ],
)
def test_as_kaldis_jobs(first: int, last: int, turns: int, counts: list[int]) -> None:
    assert [WorkerRamp(first, last).at(turn, turns) for turn in range(turns)] == counts


@given(sizes, st.integers(1, 5000))
def test_it_grows_from_the_first_to_the_last_and_uses_up_the_data(of: tuple[int, int], minibatches: int) -> None:
    first, last = of
    ramp = WorkerRamp(first, last)
    turns = ramp.turns(minibatches)
    counts = [ramp.at(turn, turns) for turn in range(math.ceil(turns) + 1)]
    assert counts == sorted(counts) and counts[0] == first and counts[-1] == last
    assert abs(sum(counts[: math.floor(turns)]) - minibatches) <= 2 * last


@given(sizes)
def test_shares_of_the_frames_are_those_of_many_turns(of: tuple[int, int]) -> None:
    ramp, turns = WorkerRamp(*of), 20_000
    counts = [ramp.at(turn, turns) for turn in range(turns)]
    shares = ramp.frame_shares()
    assert sum(shares.values()) == pytest.approx(1)
    for workers, share in shares.items():
        assert share == pytest.approx(workers * counts.count(workers) / sum(counts), abs=1e-3)
    assert ramp.mean == pytest.approx(sum(counts) / turns, abs=1e-2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"workers_first": 5}, "workers_first 5: expected at most all 4 workers"),
        ({"workers_first": 0}, "workers_first 0: expected a whole number of at least 1"),
        ({"workers_first": 2, "sync_first": 0.1}, "workers_first and sync_first do not go together"),
        ({"workers_first": 2, "qsr_alpha": 0.1}, "workers_first and qsr_alpha do not go together"),
        ({"workers_first": 2, "sites": "f"}, "workers_first and sites do not go together"),
        ({"workers_first": 2, "schedule": "newbob"}, "the length of newbob is not known before"),
        *(
            ({"workers_first": 2, "algorithm": name}, "workers_first 2 is of no use to .*, only to average, gradient")
            for name in ("block-momentum", "elastic", "colearn", "ensemble", "none", "downpour")
        ),
    ],
)
def test_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        training_options(**{"workers": 4, **given})


def test_as_many_as_there_are_is_no_ramp() -> None:
    assert split(workers=4, algorithm="average", workers_first=4)[0].ramp is None
    assert split(workers=4, algorithm="average", workers_first=3)[0].ramp == WorkerRamp(3, 4)
