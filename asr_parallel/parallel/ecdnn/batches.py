"""The minibatches of a process's workers, as an ensemble asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Place = tuple[int, int]  # epoch, and minibatch in it


class Batches(Protocol):
    """The minibatches of a process's workers (training/minibatches.py)."""

    minibatch: int  # frames
    minibatches_per_epoch: int
    counts: np.ndarray  # (K,) minibatches of each worker in an epoch

    def active(self, k: int) -> Tensor | None:
        """Return (R,) bool, which of these workers have minibatch k of an epoch; None: all of them."""

    def at(self, places: Sequence[Place]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the spliced frames (R, B, dim) and labels (R, B) of minibatches."""
