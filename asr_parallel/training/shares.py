"""Workers' shares of the training data, and their minibatches."""

import heapq
from pathlib import Path

import numpy as np
import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_ramp import WorkerRamp
from asr_parallel.record.files import read_lines
from asr_parallel.training.augmentation import Augmentation
from asr_parallel.training.growing_minibatches import GrowingMinibatches
from asr_parallel.training.minibatches import Minibatches, Purpose, counted_seed


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
    ramp: WorkerRamp | None = None,
    epochs: int = 1,
) -> Minibatches:
    """Return minibatches of this process's workers, each on its share of the utterances; `seed` cuts the shares.

    Args:
        by, sites: what a worker gets whole, or a file that says which worker gets which speaker.
        ramp: how the number of workers grows in a training of so many epochs; None: all train from the beginning.

    Raises:
        ValueError: fewer utterances or speakers than workers, or a share smaller than a minibatch.
    """
    parts = parts_of(store, utterances, group.num_workers, by, sites, seed)
    if ramp is not None:
        every = [store.rows_of(part) for part in parts]
        return GrowingMinibatches(
            store, every, group.local_workers, ramp, epochs, minibatch, order_seed, augmentation, dtype, device
        )
    shares, frames = [store.rows_of(parts[k]) for k in group.local_workers], frames_of(store, parts)
    return Minibatches(
        store, shares, group.local_workers, minibatch, order_seed, augmentation, dtype, device, frames=frames
    )
