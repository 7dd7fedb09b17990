"""Workers' shares of a frame store, shuffled frame by frame, cut into minibatches and made ready ahead of time.

What a worker sees follows from (seed, worker, epoch, minibatch) alone: not from the process it runs in, from the
workers beside it, from the device, or from what was trained before. A resumed epoch skips without reading anything.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from enum import IntEnum
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.algorithm import BaseAlgorithm
from asr_parallel.record.threads import single_thread_pool
from asr_parallel.training.augmentation import Augmentation, DrawnAugmentation, stacked
from asr_parallel.training.loaders import Loader, make_loader

Place = tuple[int, int]  # epoch, minibatch in it
AHEAD = 1  # minibatches prepared while one is trained on: memory then holds no more than three


class Purpose(IntEnum):
    """The purpose of random numbers, their first counter, so that different purposes get unrelated streams."""

    ORDER = 0  # of a worker's frames in an epoch
    AUGMENTATION = 1
    SHARES = 2  # which worker gets which utterances
    RBM_SAMPLES = 3  # of hidden units, and the order of a layer's frames
    RBM_INITIAL = 4  # weights of an RBM
    INITIAL = 5  # weights of workers that start from random numbers of their own


def counted_seed(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """Return a seed that follows from a purpose and counters: numpy's SeedSequence with them as its spawn key.

    It hashes all of them, so that neighbouring counters give unrelated streams.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), *counters))


class Minibatches:
    """Minibatches of R of K workers, stacked.

    A worker's frames short of a whole minibatch are left out, others in each epoch. An epoch is as long as the largest
    share; a worker whose share has ended is given frames of NaN, which an optimiser leaves out (see `active`).

    counts: (K,) int64, minibatches in an epoch of each of all workers.
    minibatches_per_epoch: the largest of them.
    minibatch: B, frames of one worker.
    augmentation: of the frames.
    waited_seconds: how long the consumer has waited for data.
    """

    def __init__(
        self,
        store: FrameStore,
        shares: Sequence[np.ndarray],
        workers: Sequence[int],
        minibatch: int,
        seed: int,
        augmentation: Augmentation | None,
        dtype: torch.dtype,
        device: torch.device,
        resident: bool | None = None,
        frames: Sequence[int] | None = None,
        loader: Loader | None = None,
    ) -> None:
        """Set up; nothing is read yet, but a store that is to stay on the device is copied there.

        Args:
            shares: for each worker the rows of the store (real frames) it trains on.
            workers: numbers of the workers, from 0; one a share.
            minibatch: B, frames of one worker.
            seed: of order and augmentation, not negative.
            augmentation: None for frames as they are.
            dtype: of the spliced frames.
            device: where the minibatches are wanted.
            resident: whether the whole store is kept on the device; None: on a GPU with room for it.
            frames: of the shares of all K workers, when there are others than these R.
            loader: of other minibatches of this store, dtype and device; a GPU then holds the store once.

        Raises:
            ValueError: minibatch or seed out of range; a share that is empty or smaller than a minibatch.
        """
        assert len(shares) == len(workers) == len(set(workers)) > 0
        if minibatch < 1 or seed < 0:
            raise ValueError(f"minibatch {minibatch}, seed {seed}: expected at least one frame and a seed from 0")
        of_all = dict(enumerate(frames) if frames else zip(workers, map(len, shares), strict=True))
        for worker, count in of_all.items():
            if count < minibatch:
                raise ValueError(f"worker {worker}: only {count} frames, less than one minibatch of {minibatch}")
        self.counts = np.array(list(of_all.values())) // minibatch
        self.minibatches_per_epoch = int(self.counts.max())
        self.waited_seconds = 0.0
        self._shares, self._workers = list(shares), list(workers)
        self.minibatch, self._seed, self._frame_dim = minibatch, seed, store.dim
        self.augmentation = augmentation or Augmentation()
        self._row_dtype = np.int32 if len(store.frames) <= np.iinfo(np.int32).max else np.int64
        self.loader = loader or make_loader(store, dtype, torch.device(device), resident)
        self._device = torch.device(device)
        self._orders: dict[int, Any] = {}  # of the epochs asked for last

    @property
    def frames_per_epoch(self) -> int:
        """Frames of an epoch, over all workers."""
        return int(self.frames(0, self.minibatches_in(0)).sum())

    def minibatches_in(self, epoch: int) -> int:
        """Return the minibatches of a worker in an epoch."""
        return self.minibatches_per_epoch

    def minibatches_before(self, epoch: int) -> int:
        """Return the minibatches of a worker in all epochs before one."""
        return epoch * self.minibatches_per_epoch

    def frames(self, first: int, last: int, epoch: int = 0) -> np.ndarray:
        """Return (K,) int64, frames that each worker trains on in minibatches first to last - 1 of an epoch."""
        frames: np.ndarray = (np.minimum(last, self.counts) - np.minimum(first, self.counts)) * self.minibatch
        return frames

    def active(self, k: int, epoch: int = 0) -> Tensor | None:
        """Return (R,) bool, which of these workers train on minibatch k of an epoch; None: all of them."""
        ends = [len(share) // self.minibatch for share in self._shares]
        return None if k < min(ends) else torch.tensor([k < end for end in ends], device=self._device)

    def beginning(self, epoch: int, k: int) -> Sequence[int]:
        """Return the workers that train on minibatch k of an epoch for the first time, after others have trained."""
        return ()

    def rate_share(self, algorithm: BaseAlgorithm, epoch: int, k: int) -> float:
        """Return the learning rate of minibatch k of an epoch over that of K workers."""
        return 1.0

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the minibatches of epoch `number`, from minibatch `first` on, as `at` does."""
        return self.at([(number, k) for k in range(first, self.minibatches_in(number))])

    def at(self, places: Sequence[Place]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the minibatches at these places, one after the other.

        Spliced frames (R, B, spliced_dim) of the dtype, labels (R, B) int64, both on the device and the caller's to
        keep or change. Closing the iterator ends its thread; what goes wrong in the thread is raised here.
        """
        oldest = min((epoch for epoch, _ in places), default=0)
        kept = list(self._orders.items())  # in one go: another iterator's thread may add to them
        self._orders = {epoch: order for epoch, order in kept if epoch >= oldest}
        with closing(self._stream((*place, slice(None)) for place in places)) as stream:
            for (epoch, k), (spliced, labels) in zip(places, stream, strict=True):
                active = self.active(k, epoch)
                if active is not None:
                    spliced[~active] = torch.nan
                yield spliced, labels

    def of_replicas(self, places: Iterable[tuple[int, int, int]]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield single minibatches, (1, B, spliced_dim) and (1, B), as `at` does those of all replicas.

        Args:
            places: replica, epoch and minibatch in it, which is one of its share; a place is asked for while the one
                before it is trained on.
        """

        def located() -> Iterator[tuple[int, int, slice]]:
            for r, epoch, k in places:  # workers that wait for nobody may be an epoch apart, and rarely more
                for old in [one for one in list(self._orders) if one < epoch - 1]:
                    self._orders.pop(old, None)
                yield epoch, k, slice(r, r + 1)

        return self._stream(located())

    def _stream(self, places: Iterable[tuple[int, int, slice]]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield minibatches of some replicas, prepared ahead in a thread."""
        began = time.monotonic()

        def prepare(epoch: int, k: int, replicas: slice) -> Any:
            rows = self._order_of(epoch)[replicas, k * self.minibatch : (k + 1) * self.minibatch]
            return self.loader.prepare(rows, self._draw(epoch, k, self._workers[replicas]))

        pool = single_thread_pool(1, "minibatches")
        try:
            left = iter(places)
            coming: deque[Future[Any]] = deque(pool.submit(prepare, *place) for place in islice(left, AHEAD))
            while coming:
                prepared = coming.popleft().result()
                coming.extend(pool.submit(prepare, *place) for place in islice(left, 1))
                minibatch = self.loader.finish(prepared)
                self.waited_seconds += time.monotonic() - began
                yield minibatch
                began = time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)

    def _order_of(self, epoch: int) -> Any:
        """Return an epoch's order in the loader's form."""
        order = self._orders.get(epoch)
        if order is None:
            order = self._orders[epoch] = self.loader.upload(self._order(epoch))
        return order

    def _order(self, epoch: int) -> np.ndarray:
        """Return (R, rows of an epoch), each worker's share shuffled, and its first row where it has ended."""
        order = np.empty((len(self._shares), self.minibatches_per_epoch * self.minibatch), dtype=self._row_dtype)
        for own, share, worker in zip(order, self._shares, self._workers, strict=True):
            shuffled = self._shuffled(share, worker, epoch)
            own[: len(shuffled)] = shuffled
            own[len(shuffled) :] = share[0]
        return order

    def _shuffled(self, share: np.ndarray, worker: int, epoch: int) -> np.ndarray:
        """Return the rows of a worker's share in the order of an epoch, those of whole minibatches."""
        shuffled = share.astype(self._row_dtype)
        np.random.default_rng(counted_seed(self._seed, Purpose.ORDER, worker, epoch)).shuffle(shuffled)
        return shuffled[: len(share) // self.minibatch * self.minibatch]

    def _draw(self, epoch: int, k: int, workers: Sequence[int]) -> DrawnAugmentation:
        """Draw the augmentation of minibatch k of some workers, for B examples of each."""
        if self.augmentation == Augmentation():
            return DrawnAugmentation(None, None)
        generator = torch.Generator()
        each = []
        for worker in workers:
            mixed = counted_seed(self._seed, Purpose.AUGMENTATION, worker, epoch, k).generate_state(1, np.uint64)
            generator.manual_seed(int(mixed[0]))
            each.append(self.augmentation.draw(self.minibatch, self._frame_dim, generator))
        return stacked(each)


def merge_workers(spliced: Tensor, labels: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the frames of all workers, or of the active ones (R,), as one minibatch of one replica, maybe empty."""
    if active is not None:
        spliced, labels = spliced[active], labels[active]
    return spliced.flatten(0, 1).unsqueeze(0), labels.flatten().unsqueeze(0)
