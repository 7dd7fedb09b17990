"""The cutoff of a frame's tokens against Kaldi's rules, written down with sorted costs."""

import numpy as np
import pytest

from asr_parallel.decode.search_cutoff import BEAM_DELTA, cutoff_of


def plain_cutoff(costs, beam, max_active, min_active):
    """GetCutoff of Kaldi's LatticeFasterDecoder."""
    ordered = np.sort(costs)
    best = ordered[0]
    if len(costs) > max_active and ordered[max_active] < best + beam:
        return ordered[max_active], ordered[max_active] - best + BEAM_DELTA
    least = ordered[min_active] if len(costs) > min_active else np.inf
    if least > best + beam:
        return least, least - best + BEAM_DELTA
    return best + beam, beam


@pytest.mark.parametrize("seed", range(20))
def test_cutoff_is_that_of_sorted_costs(seed):
    random = np.random.default_rng(seed)
    costs = random.integers(0, 30, random.integers(1, 60)).astype(float)  # whole numbers: many are equal
    before = costs.copy()
    for beam in (0.5, 5.0, 29.0):
        for max_active, min_active in ((7, 3), (40, 0), (100, 20), (20, 19)):
            cutoff, next_beam, best = cutoff_of(costs, beam, max_active, min_active)
            assert (cutoff, next_beam) == plain_cutoff(costs, beam, max_active, min_active)
            assert costs[best] == costs.min()
    np.testing.assert_array_equal(costs, before)
