"""Minibatches of one lease after the other: what is read ahead, and where a guess is wrong."""

from collections.abc import Generator, Iterator

import pytest
import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.life import Lease, Place
from asr_parallel.training.leased_data import LeasedData


class Store:
    """Minibatches that hold their place; one is read while the one before is trained on, as from disk."""

    def __init__(self) -> None:
        self.began: list[Place] = []
        self.ahead: Place | None = None
        self.ended = 0

    def read(self, places: Iterator[Place]) -> Generator[tuple[Tensor, Tensor], None, None]:
        self.ahead = next(places)
        self.began.append(self.ahead)
        try:
            while (place := self.ahead) is not None:
                self.ahead = next(places, None)
                yield torch.tensor([place.share, place.epoch, place.index]), torch.zeros(1)
        finally:
            self.ended += 1


@pytest.mark.parametrize("period", [1, 3])
def test_a_worker_that_goes_on_reads_ahead_across_leases_and_epochs(period: int) -> None:
    store = Store()
    data = LeasedData(store.read, [6, 9], 2)
    for epoch in range(2):
        for first in range(0, 6, period):
            data.begin(Lease(0, epoch, first, period))
            for index in range(first, first + period):
                assert next(data)[0].tolist() == [0, epoch, index]
                last = (epoch, index) == (1, 5)
                assert store.ahead == (None if last else Place(0, epoch + (index == 5), (index + 1) % 6))
    assert store.began == [Place(0, 0, 0)]
    data.close()
    data.close()
    assert store.ended == 1


def test_where_the_guess_is_wrong_the_lease_counts() -> None:
    store = Store()
    data = LeasedData(store.read, [6, 9], 2)
    leases = [Lease(0, 0, 4, 2), Lease(1, 0, 7, 1), Lease(1, 0, 8, 1), Lease(0, 1, 0, 3), Lease(0, 0, 1, 1)]
    read = []
    for lease in leases:
        data.begin(lease)
        read += [next(data)[0].tolist() for _ in range(lease.count)]
    assert read == [[0, 0, 4], [0, 0, 5], [1, 0, 7], [1, 0, 8], [0, 1, 0], [0, 1, 1], [0, 1, 2], [0, 0, 1]]
    assert store.began == [Place(0, 0, 4), Place(1, 0, 7), Place(0, 1, 0), Place(0, 0, 1)]
    assert store.ended == 3
