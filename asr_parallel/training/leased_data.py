"""The minibatches of an asynchronous worker, of one lease after the other."""

from collections.abc import Callable, Generator, Iterator, Sequence

from torch import Tensor

from asr_parallel.parallel.asynchronous.life import Lease, Place

Minibatch = tuple[Tensor, Tensor]  # spliced frames, labels


class LeasedData:
    """An iterator over a worker's minibatches that is told of each lease, and reads one minibatch ahead.

    The next lease is not known before its first minibatch would have to be read. But a worker most often goes on where
    it was, also in the next epoch: that minibatch is read, and given up where the lease is another one. So the thread
    that reads is started once, and not for every lease, which may be a single minibatch.
    """

    def __init__(
        self, read: Callable[[Iterator[Place]], Generator[Minibatch, None, None]], counts: Sequence[int], epochs: int
    ) -> None:
        """Read nothing yet.

        Args:
            read: return the minibatches at these places; a place is asked for while the one before is trained on.
            counts: minibatches of each share in an epoch.
            epochs: of the training.
        """
        self._read, self._counts, self._epochs = read, counts, epochs
        self._stream: Generator[Minibatch, None, None] | None = None
        self._next: Place | None = None

    def begin(self, lease: Lease) -> None:
        """Go on with the minibatches of a lease."""
        first = Place(lease.share, lease.epoch, lease.first)
        if self._stream is None or first != self._next:
            self.close()
            self._next, self._stream = first, self._read(self._from(first))

    def __iter__(self) -> Iterator[Minibatch]:
        return self

    def __next__(self) -> Minibatch:
        assert self._stream is not None and self._next is not None
        minibatch = next(self._stream)
        self._next = self._after(self._next)
        return minibatch

    def close(self) -> None:
        """End the thread that reads ahead."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _from(self, place: Place | None) -> Iterator[Place]:
        while place is not None:
            yield place
            place = self._after(place)

    def _after(self, place: Place) -> Place | None:
        if place.index + 1 < self._counts[place.share]:
            return Place(place.share, place.epoch, place.index + 1)
        return Place(place.share, place.epoch + 1, 0) if place.epoch + 1 < self._epochs else None
