"""Random numbers that follow from counters: of the worker, the epoch, the minibatch."""

import numpy as np

ORDER, VARIATION, SHARES = 0, 1, 2  # keep apart what the same counters are used for


def counted_seed(seed: int, *counters: int) -> np.random.SeedSequence:
    """Seed of the random numbers with these counters: numpy's SeedSequence of `seed`, the counters its spawn key.

    It hashes all of them, so that neighbouring counters give unrelated streams.
    """
    return np.random.SeedSequence(seed, spawn_key=counters)
