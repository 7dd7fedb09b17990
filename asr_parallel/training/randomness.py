"""Random numbers that follow from counters: of the worker, the epoch, the minibatch."""

from collections.abc import Sequence

import numpy as np

ORDER, VARIATION, SHARES, INITIAL = 0, 1, 2, 3  # keep apart what the same counters are used for


def initial_seeds(seed: int, workers: Sequence[int]) -> list[int]:
    """Of workers that start from random numbers of their own; the first of all, worker 0, has those of a single one."""
    mixed = [int(counted_seed(seed, INITIAL, worker).generate_state(1, np.uint32)[0]) for worker in workers]
    return [own if worker else seed for worker, own in zip(workers, mixed, strict=True)]


def counted_seed(seed: int, *counters: int) -> np.random.SeedSequence:
    """Seed of the random numbers with these counters: numpy's SeedSequence of `seed`, the counters its spawn key.

    It hashes all of them, so that neighbouring counters give unrelated streams.
    """
    return np.random.SeedSequence(seed, spawn_key=counters)
