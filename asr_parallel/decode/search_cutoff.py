"""The cost above which the search drops a frame's tokens: by the beam, and by the number of tokens allowed.

(Kaldi: GetCutoff in decoder/lattice-faster-decoder.cc)
"""

# mypy: disable-error-code="no-untyped-def"
import numpy as np

from asr_parallel.record.compiled import njit

BEAM_DELTA = 0.5  # added to a beam narrowed by max_active; LatticeFasterDecoderConfig::beam_delta


@njit()
def nth_smallest(values, n):
    """Return the n-th smallest of `values` (from 0), reordering them (Hoare; np.partition compiles slowly)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if n <= j:
            high = j
        elif n >= i:
            low = i
        else:
            break
    return values[n]


@njit()
def cutoff_of(costs, beam, max_active, min_active):
    """Return the cost above which tokens of these `costs` are dropped, the beam for the next frame, and the best token.

    Counting the costs within the beam tells whether a limit on their number applies; only then is the cost searched
    for that has just as many below it.
    """
    best = 0
    for i in range(len(costs)):
        if costs[i] < costs[best]:
            best = i
    best_cost = costs[best]
    beam_cutoff = best_cost + beam
    below = within = 0
    for cost in costs:
        below += cost < beam_cutoff
        within += cost <= beam_cutoff
    if below > max_active:
        cutoff = nth_smallest(costs.copy(), max_active)
        return cutoff, cutoff - best_cost + BEAM_DELTA, best
    if len(costs) <= min_active:
        return np.inf, np.inf, best
    if within <= min_active:
        cutoff = best_cost if min_active == 0 else nth_smallest(costs.copy(), min_active)
        return cutoff, cutoff - best_cost + BEAM_DELTA, best
    return beam_cutoff, beam, best
