"""A network of Kaldi's as a chain of parts, and the same as a list of components.

Kaldi has scales, shifts and affine transforms that are not trained, such as an LDA or the normalisation of the input.
They are multiplied into the affine component before or after them; the outputs stay the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_parallel.nnet.components import Affine, Component, Splice


@dataclass(frozen=True)
class Linear:
    """y = W x + b.

    weight: (outputs, inputs) float64, or (inputs,) the diagonal of a square one. bias (outputs,) float64. trained:
    whether it is a component of its own.
    """

    weight: np.ndarray
    bias: np.ndarray
    trained: bool = False

    def __post_init__(self) -> None:
        if not len(self.bias) == len(self.weight) > 0:
            raise ValueError(f"an affine transform of {len(self.weight)} rows and {len(self.bias)} biases")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ValueError("a parameter is not finite")

    @classmethod
    def scale(cls, factors: np.ndarray) -> "Linear":
        """Return a fixed scale of each dimension."""
        return cls(factors, np.zeros(len(factors)))

    @classmethod
    def shift(cls, offsets: np.ndarray) -> "Linear":
        """Return what adds a fixed vector."""
        return cls(np.ones(len(offsets)), offsets)

    @property
    def input_dim(self) -> int:
        return int(self.weight.shape[-1])

    def after(self, first: "Linear", trained: bool) -> "Linear":
        """Return one transform for two, of which `first` comes first."""
        if self.weight.ndim == 1:
            weight = (self.weight if first.weight.ndim == 1 else self.weight[:, None]) * first.weight
            return Linear(weight, self.weight * first.bias + self.bias, trained)
        weight = self.weight * first.weight if first.weight.ndim == 1 else self.weight @ first.weight
        return Linear(weight, self.weight @ first.bias + self.bias, trained)

    def repeated(self, times: int) -> "Linear":
        """Return the transform of so many vectors, one after the other."""
        if self.weight.ndim == 1:
            return Linear(np.tile(self.weight, times), np.tile(self.bias, times))
        return Linear(np.kron(np.eye(times), self.weight), np.tile(self.bias, times))


Part = Linear | Component


def assemble(parts: Sequence[Part], frame_dim: int) -> tuple[tuple[Component, ...], list[Linear]]:
    """Return components, and the parameters of the affine ones among them.

    Raises:
        ValueError: dimensions that do not fit together, or a fixed transform without affine component next to it.
    """
    components: list[Component] = []
    affines: list[Linear] = []
    pending: Linear | None = None
    dim = frame_dim
    for part in parts:
        if isinstance(part, Splice):
            components.append(part)
            pending = pending and pending.repeated(len(part.offsets))
            dim = part.output_dim(dim)
        elif isinstance(part, Linear):
            if part.input_dim != dim:
                raise ValueError(f"an affine transform of {part.input_dim} inputs; expected {dim}, as come before it")
            dim = len(part.bias)
            if part.trained:
                affines.append(part if pending is None else part.after(pending, trained=True))
                components.append(Affine(dim))
                pending = None
            elif components and isinstance(components[-1], Affine):
                affines[-1] = part.after(affines[-1], trained=True)
                components[-1] = Affine(dim)
            else:
                pending = part if pending is None else part.after(pending, trained=False)
        else:
            if pending is not None:
                raise ValueError(f"a fixed transform before {part.kind}: expected it next to an affine component")
            components.append(part)
            dim = part.output_dim(dim)
    if pending is not None or not components:
        raise ValueError("a fixed transform at the end: expected it next to an affine component")
    return (*([] if isinstance(components[0], Splice) else [Splice((0,))]), *components), affines
