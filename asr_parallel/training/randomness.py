"""Random numbers that follow from counters: of the worker, the epoch, the minibatch."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of random numbers, their first counter, so that different purposes get unrelated streams."""

    ORDER = 0  # of a worker's frames in an epoch
    AUGMENTATION = 1
    SHARES = 2  # which worker gets which utterances
    RBM_SAMPLES = 3  # of hidden units, and the order of a layer's frames
    RBM_INITIAL = 4  # weights of an RBM
    INITIAL = 5  # weights of workers that start from random numbers of their own


def initial_seeds(seed: int, workers: Sequence[int]) -> list[int]:
    """Return seeds of workers that start apart; worker 0 has that of a single worker."""
    mixed = [int(counted_seed(seed, Purpose.INITIAL, worker).generate_state(1, np.uint32)[0]) for worker in workers]
    return [own if worker else seed for worker, own in zip(workers, mixed, strict=True)]


def counted_seed(seed: int, purpose: Purpose, *counters: int) -> np.random.SeedSequence:
    """Return a seed that follows from a purpose and counters: numpy's SeedSequence with them as its spawn key.

    It hashes all of them, so that neighbouring counters give unrelated streams.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), *counters))
