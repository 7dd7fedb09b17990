"""A network as a list of components: dimensions, points in time, and where each tensor lies in the flat buffer."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.components import Affine, Component, Positions, Shapes, Splice, component_from_json

# A component's tensors begin at a multiple of this many numbers: 64 bytes also in bfloat16, what vector instructions
# read fastest.
ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class AffinePlace:
    """The place of one affine component in a flat buffer: `out * in` weights row by row, then `out` biases."""

    start: int
    out: int
    into: int

    @property
    def bias_start(self) -> int:
        """Index of the first bias."""
        return self.start + self.out * self.into

    @property
    def end(self) -> int:
        """Index after the last bias."""
        return self.bias_start + self.out


@dataclass(frozen=True, slots=True)
class PlacedComponent:
    """A component in its network: dimensions of its input, and the first index of its tensors in the flat buffer."""

    component: Component
    input_dim: int
    start: int

    @property
    def shapes(self) -> Shapes:
        """Shapes of its parameters, then of its buffers, as they lie in the flat buffer."""
        return self.component.parameters(self.input_dim) | self.component.buffers(self.input_dim)

    @property
    def end(self) -> int:
        """Index after its last number."""
        return self.start + sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return its tensors (R, ...), views of a flat buffer (R, P), by name."""
        found, start = {}, self.start
        for name, shape in self.shapes.items():
            found[name] = flat[:, start : start + math.prod(shape)].unflatten(1, shape)
            start += math.prod(shape)
        return found


@dataclass(frozen=True)
class NetworkSpec:
    """A network for windows of frames.

    frame_dim: features of a frame.
    context: frames on either side in a window, as many as the frame store has; the network may see fewer of them.
    components: the first is a splice, which says what frames the network sees; the last is affine, one output a pdf_id.
    """

    frame_dim: int
    context: int
    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        first, last = self.components[:1], self.components[-1:]
        if not (first and isinstance(first[0], Splice) and isinstance(last[0], Affine)):
            raise ValueError("a network's components: expected a splice as the first and an affine one as the last")
        if self.frame_dim < 1:
            raise ValueError(f"frame_dim {self.frame_dim}: expected a positive number")
        for before, after in zip(self.components, self.components[1:], strict=False):
            if after.overwrites_input and before.keeps_output:
                raise ValueError(f"component {after.kind} after {before.kind}: expected it after an affine one")
        if max(self.left_context, self.right_context) > self.context:
            raise ValueError(
                f"context {self.context}: the network sees {self.left_context} frames before and {self.right_context}"
                f" after; expected a frame store of context {max(self.left_context, self.right_context)}"
                " (make-frames --context)"
            )
        assert self.placed_components

    def __str__(self) -> str:
        """Return its components in a line, for messages."""
        return f"{self.frame_dim} x {2 * self.context + 1} inputs: {', '.join(map(str, self.components))}"

    @property
    def input_dim(self) -> int:
        """Dimensions of a window of frames."""
        return (2 * self.context + 1) * self.frame_dim

    @property
    def num_pdfs(self) -> int:
        """Number of outputs."""
        output = self.components[-1]
        assert isinstance(output, Affine)
        return output.dim

    @property
    def hidden_layers(self) -> int:
        """Number of affine components before the output layer."""
        return sum(isinstance(component, Affine) for component in self.components) - 1

    @property
    def left_context(self) -> int:
        """Frames before the labelled one that have an influence on its output."""
        return -sum(component.reads()[0] for component in self.components)

    @property
    def right_context(self) -> int:
        """Frames after the labelled one that have an influence on its output."""
        return sum(component.reads()[-1] for component in self.components)

    @cached_property
    def placed_components(self) -> list[PlacedComponent]:
        """The components with their dimensions and places."""
        found, dim, start = [], self.frame_dim, 0
        for component in self.components:
            found.append(PlacedComponent(component, dim, start))
            dim, start = component.output_dim(dim), aligned(found[-1].end)
        return found

    @property
    def num_parameters(self) -> int:
        """Numbers in the flat buffer of one replica, those between tensors included."""
        return aligned(self.placed_components[-1].end)

    @cached_property
    def affine_points(self) -> list[int]:
        """Points in time at which each affine component, first to last, is computed for one labelled frame."""
        points = self._points(np.zeros(1, dtype=np.int64))
        return [len(points[k]) for k, component in enumerate(self.components) if isinstance(component, Affine)]

    def positions(self, frames: int, device: torch.device) -> list[Positions | None]:
        """Return what every splice reads, for windows of so many frames: for 2 * context + n frames and n outputs."""
        points = self._points(np.arange(frames - 2 * self.context))
        points[0] = np.arange(-self.context, frames - self.context)  # all that a window has
        found: list[Positions | None] = []
        for k, component in enumerate(self.components):
            if not isinstance(component, Splice):
                found.append(None)
                continue
            index = np.searchsorted(points[k], points[k + 1][:, None] + np.array(component.offsets))
            in_order = len(index) == 1 and np.array_equal(index[0], np.arange(len(points[k])))
            found.append(Positions(torch.from_numpy(index).to(device), len(points[k]), in_order))
        return found

    def _points(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return points in time at the input of every component, and last the outputs."""
        found = [outputs]
        for component in reversed(self.components):
            found.append(np.unique(found[-1][:, None] + np.array(component.reads())))
        return found[::-1]

    def to_json(self) -> dict[str, Any]:
        """Return what net.json holds of it."""
        components = [component.to_json() for component in self.components]
        return {"frame_dim": self.frame_dim, "context": self.context, "components": components}

    @classmethod
    def from_json(cls, described: Any, where: str) -> "NetworkSpec":
        """Return the network that `to_json` described; ValueError, which begins with `where`, when there is none."""
        try:
            frame_dim, context = int(described["frame_dim"]), int(described["context"])
            given = list(described["components"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: expected frame_dim, context and a list of components") from error
        components = tuple(component_from_json(one, f"{where}: components[{n}]") for n, one in enumerate(given))
        try:
            return cls(frame_dim, context, components)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def layout(spec: NetworkSpec) -> list[AffinePlace]:
    """Return the places of the affine components, from the first to the output layer."""
    return [
        AffinePlace(placed.start, placed.component.dim, placed.input_dim)
        for placed in spec.placed_components
        if isinstance(placed.component, Affine)
    ]


def aligned(end: int) -> int:
    """Return the next multiple of ALIGNMENT."""
    return -(-end // ALIGNMENT) * ALIGNMENT
