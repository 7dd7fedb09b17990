import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.life import Lease


def minibatches(lease: Lease) -> list[tuple[int, int, int]]:
    return [(lease.share, lease.epoch, lease.first + n) for n in range(lease.count)]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any), st.integers(1, 3), st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["lease", "push", "lose", "resume"])), max_size=60),
)  # fmt: skip
def test_every_minibatch_is_trained_on_once_whoever_asks_and_is_lost(counts, epochs, period, requests) -> None:
    """Until all are at the center, requests and losses come in any order; then worker 0 reads the rest."""
    leases, held, trained = Leases(counts, epochs, period), [[] for _ in counts], []
    for worker, what in [(w % len(counts), what) for w, what in requests]:
        if what == "lose":
            leases.lost(worker)
            held[worker] = []
        elif what == "push":
            leases.pushed(worker)
            trained += held[worker]
            held[worker] = []
        elif what == "resume":
            state = leases.state()
            leases = Leases(counts, epochs, period)
            leases.load(state)
        elif len(held[worker]) < period and (lease := leases.lease(worker)) is not None:
            held[worker] += minibatches(lease)
            assert len(held[worker]) <= period
    for worker in range(len(counts)):
        trained += held[worker]
        leases.pushed(worker)
    while (lease := leases.lease(0)) is not None:
        trained += minibatches(lease)
        leases.pushed(0)
    expected = [
        (share, epoch, n) for epoch in range(epochs) for share, count in enumerate(counts) for n in range(count)
    ]
    assert sorted(trained) == sorted(expected)
    assert leases.all_given and leases.unread == 0


def test_a_worker_reads_its_own_share_and_then_helps_the_one_that_is_most_behind() -> None:
    leases = Leases([2, 5, 3], epochs=2, period=4)
    assert leases.lease(0) == Lease(0, 0, 0, 2)
    assert leases.lease(0) == Lease(1, 0, 0, 2), "as many as may lie between two pushes"
    with pytest.raises(ValueError, match="worker 0: 4 minibatches are out with it; expected a push first"):
        leases.lease(0)
    assert leases.lease(1) == Lease(1, 0, 2, 3)
    leases.pushed(0)
    assert leases.lease(0) == Lease(2, 0, 0, 3)
    assert leases.lease(0) == Lease(0, 1, 0, 1), "the next epoch"


def test_a_lost_workers_share_may_stay_unread_until_it_joins_again() -> None:
    leases = Leases([2, 4], epochs=2, period=2)
    leases.lease(1)
    leases.lost(1, hand_over=False)
    assert leases.unread == 2
    assert leases.lease(0) == Lease(0, 0, 0, 2)
    leases.pushed(0)
    assert leases.lease(0) == Lease(0, 1, 0, 2)
    assert leases.unread == 4, "the rest of its share in epoch 0"
    leases.joined(1)
    assert leases.lease(1) == Lease(1, 1, 0, 2)
