"""The state of a part of a training, as a checkpoint holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class State:
    """What `state_dict` returns and `load_state_dict` takes.

    shared: tensors that are the same in every process, by name.
    per_worker: tensors of this process's R workers, (R, ...) each, by name.
    values: JSON values that are the same in every process.
    """

    shared: Mapping[str, Tensor] = field(default_factory=dict)
    per_worker: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
