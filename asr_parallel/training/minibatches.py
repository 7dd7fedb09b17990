"""Workers' shares of a frame store, shuffled frame by frame, cut into minibatches and made ready ahead of time.

What a worker sees follows from (seed, worker, epoch, minibatch) alone: not from the process it runs in, from the
workers beside it, from the device, or from what was trained before. A resumed epoch skips without reading anything.
"""

import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.files import read_lines
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
        self._augmentation = augmentation or Augmentation()
        self._row_dtype = np.int32 if len(store.frames) <= np.iinfo(np.int32).max else np.int64
        self.loader = loader or make_loader(store, dtype, torch.device(device), resident)
        self._device = torch.device(device)
        self._orders: dict[int, Any] = {}  # of the epochs asked for last

    @property
    def frames_per_epoch(self) -> int:
        """Frames of an epoch, over all workers."""
        return int(self.frames(0, self.minibatches_per_epoch).sum())

    def frames(self, first: int, last: int) -> np.ndarray:
        """Return (K,) int64, frames that each worker trains on in minibatches first to last - 1 of an epoch."""
        frames: np.ndarray = (np.minimum(last, self.counts) - np.minimum(first, self.counts)) * self.minibatch
        return frames

    def active(self, k: int) -> Tensor | None:
        """Return (R,) bool, which of these workers train on minibatch k of an epoch; None: all of them."""
        ends = [len(share) // self.minibatch for share in self._shares]
        return None if k < min(ends) else torch.tensor([k < end for end in ends], device=self._device)

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the minibatches of epoch `number`, from minibatch `first` on, as `at` does."""
        return self.at([(number, k) for k in range(first, self.minibatches_per_epoch)])

    def at(self, places: Sequence[Place]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the minibatches at these places, one after the other.

        Spliced frames (R, B, spliced_dim) of the dtype, labels (R, B) int64, both on the device and the caller's to
        keep or change. Closing the iterator ends its thread; what goes wrong in the thread is raised here.
        """
        began = time.monotonic()
        oldest = min((epoch for epoch, _ in places), default=0)
        kept = list(self._orders.items())  # in one go: another iterator's thread may add to them
        self._orders = {epoch: order for epoch, order in kept if epoch >= oldest}

        def prepare(place: Place) -> Any:
            epoch, k = place
            rows = self._order_of(epoch)[:, k * self.minibatch : (k + 1) * self.minibatch]
            return self.loader.prepare(rows, self._draw(epoch, k))

        pool = single_thread_pool(1, "minibatches")
        try:
            coming: deque[Future[Any]] = deque(pool.submit(prepare, place) for place in places[:AHEAD])
            for n, (_, k) in enumerate(places):
                prepared = coming.popleft().result()
                if n + AHEAD < len(places):
                    coming.append(pool.submit(prepare, places[n + AHEAD]))
                spliced, labels = self.loader.finish(prepared)
                active = self.active(k)
                if active is not None:
                    spliced[~active] = torch.nan
                self.waited_seconds += time.monotonic() - began
                yield spliced, labels
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
            shuffled = share.astype(self._row_dtype)
            np.random.default_rng(counted_seed(self._seed, Purpose.ORDER, worker, epoch)).shuffle(shuffled)
            whole = len(share) // self.minibatch * self.minibatch
            own[:whole] = shuffled[:whole]
            own[whole:] = share[0]
        return order

    def _draw(self, epoch: int, k: int) -> DrawnAugmentation:
        """Draw the augmentation of minibatch k, for R * B examples."""
        if self._augmentation == Augmentation():
            return DrawnAugmentation(None, None)
        generator = torch.Generator()
        each = []
        for worker in self._workers:
            mixed = counted_seed(self._seed, Purpose.AUGMENTATION, worker, epoch, k).generate_state(1, np.uint64)
            generator.manual_seed(int(mixed[0]))
            each.append(self._augmentation.draw(self.minibatch, self._frame_dim, generator))
        return stacked(each)


def merge_workers(spliced: Tensor, labels: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the frames of all workers, or of the active ones (R,), as one minibatch of one replica, maybe empty."""
    if active is not None:
        spliced, labels = spliced[active], labels[active]
    return spliced.flatten(0, 1).unsqueeze(0), labels.flatten().unsqueeze(0)


def cut_shares(
    store: FrameStore, utterances: np.ndarray, num_workers: int, by: str = "utterance", seed: int = 0
) -> list[np.ndarray]:
    """Cut utterances into one share for each worker, nearly equal in frames: the longest first to the smallest share.

    Args:
        utterances: numbers into the store's ids.
        by: what stays together, "utterance" (with its perturbed copies) or "speaker" (all the source speaker said).
        seed: decides between equally long ones, and which worker gets which share.

    Returns:
        The utterances of each share, in the store's order; FrameStore.rows_of makes rows of them.

    Raises:
        ValueError: fewer utterances or speakers than workers.
    """
    members: dict[str, list[int]] = {}
    for u, group in zip(utterances, np.array(store.groups(by))[utterances], strict=True):
        members.setdefault(str(group), []).append(int(u))
    if not 0 < num_workers <= len(members):
        raise ValueError(f"{len(members)} {by}(s) to train on for {num_workers} workers; expected at least one each")
    counts = np.diff(store.offsets) - 2 * store.context
    random = np.random.default_rng(counted_seed(seed, Purpose.SHARES))
    groups = random.permutation(sorted(members)).tolist()
    groups.sort(key=lambda group: -counts[members[group]].sum())
    shares: list[list[int]] = [[] for _ in range(num_workers)]
    smallest = [(0, rank, int(worker)) for rank, worker in enumerate(random.permutation(num_workers))]
    for group in groups:
        frames, rank, worker = smallest[0]
        shares[worker] += members[group]
        heapq.heapreplace(smallest, (frames + int(counts[members[group]].sum()), rank, worker))
    return [np.sort(share) for share in shares]


def share_of_sites(store: FrameStore, utterances: np.ndarray, num_workers: int, sites: Path) -> list[np.ndarray]:
    """Return the utterances of each site, as cut_shares does; sites by the order of their names.

    Args:
        sites: file of lines "SPEAKER SITE".

    Raises:
        ValueError: a bad line, a speaker without a site, or another number of sites than of workers.
    """
    site_of: dict[str, str] = {}
    for number, line in enumerate(read_lines(sites), 1):
        words = line.split()
        if len(words) != 2 or words[0] in site_of:
            raise ValueError(f"{sites}:{number}: {line!r}; expected a speaker, once, and its site")
        site_of[words[0]] = words[1]
    speakers = np.array(store.groups("speaker"))[utterances]
    if missing := sorted(set(speakers) - site_of.keys()):
        raise ValueError(f"{sites}: no site for speaker {missing[0]} and {len(missing) - 1} more of those trained on")
    own_sites = np.array([site_of[speaker] for speaker in speakers])
    names = sorted(set(own_sites))
    if len(names) != num_workers:
        raise ValueError(f"{sites}: {len(names)} sites with training data for {num_workers} workers; expected as many")
    return [np.sort(utterances[own_sites == name]) for name in names]


def parts_of(
    store: FrameStore, utterances: np.ndarray, workers: int, by: str, sites: Path | None, seed: int
) -> list[np.ndarray]:
    """Return the utterances of each worker's share; see cut_shares and share_of_sites."""
    if sites is not None:
        return share_of_sites(store, utterances, workers, sites)
    return cut_shares(store, utterances, workers, by, seed) if workers > 1 else [utterances]


def frames_of(store: FrameStore, parts: list[np.ndarray]) -> list[int]:
    """Return how many frames each share has."""
    lengths = np.diff(store.offsets) - 2 * store.context
    return [int(lengths[part].sum()) for part in parts]


def group_minibatches(
    store: FrameStore,
    utterances: np.ndarray,
    group: WorkerGroup,
    by: str,
    sites: Path | None,
    seed: int,
    order_seed: int,
    minibatch: int,
    augmentation: Augmentation | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Minibatches:
    """Return minibatches of this process's workers, each on its share of the utterances; `seed` cuts the shares.

    Args:
        by, sites: what a worker gets whole, or a file that says which worker gets which speaker.

    Raises:
        ValueError: fewer utterances or speakers than workers, or a share smaller than a minibatch.
    """
    parts = parts_of(store, utterances, group.num_workers, by, sites, seed)
    shares, frames = [store.rows_of(parts[k]) for k in group.local_workers], frames_of(store, parts)
    return Minibatches(
        store, shares, group.local_workers, minibatch, order_seed, augmentation, dtype, device, frames=frames
    )
