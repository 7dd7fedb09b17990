"""The matched-pairs sentence-segment word error test (MAPSSWE) on the alignments of two systems.

L. Gillick, S. Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989;
D. Pallett, W. Fisher, J. Fiscus, "Tools for the analysis of benchmark speech recognition tests", ICASSP 1990; as NIST's
sc_stats does it (sctk 2.4.10, src/sclite/mtchprs.c and statdist.c). Definitions: docs/significance.md.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from asr_parallel.decode.edit_distance import AlignmentStep

MIN_GOOD = 2  # sc_stats' number of correct words between two segments
CRITICAL_Z = 1.960  # sc_stats' two-sided bound at 95 %


def segment_errors(
    a: Sequence[AlignmentStep], b: Sequence[AlignmentStep], min_good: int = MIN_GOOD
) -> list[tuple[int, int]]:
    """Cut one utterance into segments and count the errors of two systems in each.

    A segment begins at an error of either system and ends before the next `min_good` words in a row that both have
    right, without an insertion between them, or with the utterance. Words of the reference are the same when they are
    the same arc; where the reference has alternatives and the systems took different ones, a word that only one of
    them aligned to counts when it is wrong and is ignored when it is right, as is an optional word.

    Returns:
        (errors of a, errors of b) of each segment; never (0, 0).
    """
    if min_good < 1:
        raise ValueError(f"min_good {min_good}: expected a number from 1")
    segments = []
    errors_a = errors_b = good = 0
    for wrong_a, wrong_b, both_right in _walk(a, b):
        errors_a += wrong_a
        errors_b += wrong_b
        if wrong_a or wrong_b:
            good = 0
        elif both_right:
            good += 1
        if good == min_good and (errors_a or errors_b):
            segments.append((errors_a, errors_b))
            errors_a = errors_b = 0
    if errors_a or errors_b:
        segments.append((errors_a, errors_b))
    return segments


def _walk(a: Sequence[AlignmentStep], b: Sequence[AlignmentStep]) -> Iterable[tuple[bool, bool, bool]]:
    """Yield (error of a, error of b, both correct) for each position of two alignments of one reference."""
    i = j = 0
    while i < len(a) or j < len(b):
        arc_a, arc_b = (steps[at].arc if at < len(steps) else math.inf for steps, at in ((a, i), (b, j)))
        take_a, take_b = arc_a <= arc_b, arc_b <= arc_a  # arc 0, no word of the reference, goes first
        wrong_a, wrong_b = take_a and a[i].kind != "C", take_b and b[j].kind != "C"
        yield wrong_a, wrong_b, take_a and take_b and arc_a > 0 and not (wrong_a or wrong_b)
        i += take_a
        j += take_b


def matched_pairs(segments: Sequence[tuple[int, int]]) -> tuple[float, float, float, float]:
    """Return mean and standard deviation (n - 1) of the differences of errors, Z, and the two-sided p.

    As in sc_stats, Z = 0 and p = 1 when all differences are equal, i.e. the deviation is 0.
    """
    differences = np.array([a - b for a, b in segments], dtype=np.float64)
    mean = float(differences.mean()) if segments else 0.0
    deviation = float(differences.std(ddof=1)) if len(segments) > 1 else 0.0
    z = mean / (deviation / math.sqrt(len(segments))) if deviation else 0.0
    return mean, deviation, z, math.erfc(abs(z) / math.sqrt(2.0))
