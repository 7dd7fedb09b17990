"""Whether a training is still worth going on with, as all its processes see it."""

import math

from torch import Tensor

from asr_parallel.parallel.transport import Transport


def first_bad(transport: Transport, own: int, everywhere: bool) -> int | None:
    """Frames before the first loss that was not finite; None: the training may go on. Called by all processes alike.

    Args:
        own: this process's, below 0 when all its losses were finite.
        everywhere: whether every process must have such a loss, or one is enough.
    """
    firsts = transport.gather(own)
    bad = [first for first in firsts if first >= 0]
    return min(bad) if bad and (len(bad) == len(firsts) or not everywhere) else None


def check_common(transport: Transport, parameters: Tensor) -> None:
    """ValueError when processes no longer have the model in common that each of them computes. Called by all alike."""
    sums = transport.gather(float(parameters.double().sum()))
    if len(set(sums)) > 1 and all(map(math.isfinite, sums)):
        raise ValueError(
            f"the processes' common model has come apart (sums of parameters {sums}): expected machines that compute"
            " alike"
        )
