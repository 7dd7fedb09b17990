"""The state of a part of a training, as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class State:
    """Result of `state_dict` and argument of `load_state_dict`.

    shared: tensors that are the same in every process, by name.
    per_worker: tensors of this process's R workers, (R, ...) each, by name.
    values: JSON values that are the same in every process.
    """

    shared: Mapping[str, Tensor] = field(default_factory=dict)
    per_worker: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> State:
        """Return the state of one part of a state that `join` made; an empty one if there is none."""
        shared, per_worker = (
            {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
            for tensors in (self.shared, self.per_worker)
        )
        return State(shared, per_worker, self.values.get(name, {}))

    def clone(self) -> State:
        """Return a state with copies of the tensors."""
        shared, per_worker = (
            {name: tensor.clone() for name, tensor in tensors.items()} for tensors in (self.shared, self.per_worker)
        )
        return State(shared, per_worker, self.values)


class Stateful(Protocol):
    """A part of a training that has a state."""

    def state_dict(self) -> State:
        """Return what `load_state_dict` needs to go on; tensors are no copies."""

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned; ValueError when it is of another kind or size."""


def join(parts: Mapping[str, State]) -> State:
    """Return one state of several parts, each under its name."""
    shared, per_worker = (
        {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in getattr(part, kind).items()}
        for kind in ("shared", "per_worker")
    )
    return State(shared, per_worker, {name: part.values for name, part in parts.items() if part.values})


def copy_tensors(mine: Mapping[str, Tensor], stored: Mapping[str, Tensor], what: str) -> None:
    """Copy stored tensors into those of the same names; ValueError when names or shapes differ."""
    if {name: t.shape for name, t in mine.items()} != {name: t.shape for name, t in stored.items()}:
        raise ValueError(f"{what}: state of another kind or size, {sorted(stored)}; expected {sorted(mine)}")
    for name, tensor in mine.items():
        tensor.copy_(stored[name])
