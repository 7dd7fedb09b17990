"""When workers meet: the count of minibatches and frames between two synchronizations."""

from typing import Any

import numpy as np

from asr_parallel.parallel.algorithm import Algorithm, Replicas


class Rounds:
    """Calls an algorithm every `period` minibatches of a worker, whatever epochs and checkpoints lie between."""

    def __init__(self, algorithm: Algorithm, num_workers: int) -> None:
        self.algorithm = algorithm
        self._minibatches = 0  # since the last synchronization
        self._frames = np.zeros(num_workers, dtype=np.int64)

    def trained(self, replicas: Replicas, frames: np.ndarray) -> bool:
        """Every worker has had its turn, with (K,) frames. Returns whether they have met after it."""
        self._minibatches += 1
        self._frames += frames
        if self._minibatches != self.algorithm.period:
            return False
        self.algorithm.synchronize(replicas, self._frames)
        self._minibatches = 0
        self._frames[:] = 0
        return True

    def state(self) -> dict[str, Any]:
        """JSON values for `restore`."""
        return {"minibatches": self._minibatches, "frames": self._frames.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._minibatches = state["minibatches"]
        self._frames[:] = state["frames"]
