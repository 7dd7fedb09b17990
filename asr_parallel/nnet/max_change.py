"""Limits on how far a minibatch may move the parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class MaxChange:
    """Largest Euclidean length of one minibatch's change, of an affine layer (weights and biases) and of the whole.

    Layers are scaled down first, then the whole (Kaldi nnet3 NnetTrainer, UpdateNnetWithMaxChange), whatever the update
    rule. As in Kaldi, limits hold for the step that is applied, momentum included, and leave velocities alone; 0: none.
    """

    hidden: float = 0.75  # Kaldi xconfig, max-change of a layer
    output: float = 1.5  # Kaldi xconfig, max-change of the output layer
    whole: float = 2.0  # Kaldi steps/nnet3/train_dnn.py, max-param-change

    def __post_init__(self) -> None:
        if not (self.hidden >= 0 and self.output >= 0 and self.whole >= 0):
            raise ValueError(f"a largest change must be at least 0: {self}")

    def scale(self, lengths: Tensor) -> Tensor:
        """Return the factor of each layer's change.

        Args:
            lengths: (R, L) lengths of the changes of L affine layers, all finite.

        Returns:
            (R, L) factors, at most 1.
        """
        import torch

        # filled, not copied: a GPU is not waited for
        limit = lengths.new_full(lengths.shape[1:], self.hidden or math.inf)
        limit[-1:] = self.output or math.inf
        scale = (limit / lengths.clamp_min(1e-30)).clamp_max(1.0)
        whole = torch.linalg.vector_norm(lengths * scale, dim=1, keepdim=True)
        limited: Tensor = scale * ((self.whole or math.inf) / whole.clamp_min(1e-30)).clamp_max(1.0)
        return limited
