"""Sizes of an RBM and the places of its parameters in a flat buffer."""

from dataclasses import dataclass

from torch import Tensor

from asr_parallel.nnet.spec import ALIGNMENT


@dataclass(frozen=True, slots=True)
class RbmSpec:
    """Sizes of an RBM and the kind of its visible units: Gaussian of variance 1, or Bernoulli."""

    visible_dim: int
    hidden_dim: int
    gaussian: bool

    def __post_init__(self) -> None:
        if min(self.visible_dim, self.hidden_dim) < 1:
            raise ValueError(f"every size of an RBM must be positive: {self}")

    @property
    def size(self) -> int:
        """Numbers of a replica in the flat buffer."""
        used = self.visible_dim * self.hidden_dim + self.hidden_dim + self.visible_dim
        return -(-used // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Parts:
    """A flat buffer (R, P) seen as weight (R, H, V), hidden_bias (R, H) and visible_bias (R, V); they share memory."""

    flat: Tensor
    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor

    @classmethod
    def of(cls, spec: RbmSpec, flat: Tensor) -> "Parts":
        assert flat.shape[1] == spec.size
        weights = spec.hidden_dim * spec.visible_dim
        biases = weights + spec.hidden_dim
        weight = flat[:, :weights].unflatten(1, (spec.hidden_dim, spec.visible_dim))
        return cls(flat, weight, flat[:, weights:biases], flat[:, biases : biases + spec.visible_dim])
