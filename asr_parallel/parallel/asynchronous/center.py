"""The center of asynchronous training: the model that workers fetch and push to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from asr_parallel.parallel.state import State, copy_tensors

if TYPE_CHECKING:
    from torch import Tensor

DELTA = 0.99  # momentum; Zhang, Choromanska & LeCun, section 5


class Fetched(NamedTuple):
    """The center's model for a worker.

    params (P,): to be read before the next call of the center. version: pushes before it. frames: trained on in them.
    """

    params: Tensor
    version: int
    frames: int


class Center:
    """A center to which messages are added: x~ <- x~ + message.

    params (P,): x~. version: pushes so far. frames: that they were the result of.
    staleness: how often a push came so many versions after its worker's last fetch.
    """

    def __init__(self, model: Tensor) -> None:
        """Begin with a copy of a model (P,), on its device."""
        self.params = model.clone()
        self.version = self.frames = 0
        self.staleness: Counter[int] = Counter()

    def fetch(self) -> Fetched:
        """Return the model that a worker is to have now."""
        return Fetched(self.params, self.version, self.frames)

    def push(self, message: Tensor, version: int, frames: int) -> None:
        """Take in a worker's message.

        Args:
            message: (P,), finite.
            version: of the model that the worker fetched last.
            frames: that the worker has trained on since its last push.

        Raises:
            ValueError: a message of another size or with numbers that are not finite, or a version still to come.
        """
        if message.shape != self.params.shape:
            raise ValueError(f"message of shape {tuple(message.shape)}: expected {tuple(self.params.shape)}")
        if not 0 <= version <= self.version or frames < 0:
            raise ValueError(
                f"message of version {version} with {frames} frames: expected a version of at most {self.version}, and"
                " frames of at least 0"
            )
        if not bool(message.sum().isfinite()):  # a sum may overflow where no number has; such a message is of no use
            raise ValueError("message with numbers that are not finite")
        self.staleness[self.version - version] += 1
        self._apply(message)
        self.version += 1
        self.frames += frames

    def model(self) -> Tensor:
        """Return (P,) the model to be evaluated and kept, to be read."""
        return self.params

    def _apply(self, message: Tensor) -> None:
        """Move the center by a message; `version` is still the number of those before it."""
        self.params.add_(message)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state's tensors by name, no copies."""
        return {"params": self.params}

    def state_dict(self) -> State:
        """Return the state; tensors are no copies."""
        staleness = {str(versions): count for versions, count in sorted(self.staleness.items())}
        return State(self.tensors(), values={"version": self.version, "frames": self.frames, "staleness": staleness})

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned; ValueError when it is of another kind or size."""
        copy_tensors(self.tensors(), state.shared, "center")
        self.version, self.frames = state.values["version"], state.values["frames"]
        self.staleness = Counter({int(versions): count for versions, count in state.values["staleness"].items()})


class AveragedCenter(Center):
    """A center whose model is an average of all that it was.

    name     symbol
    average  z       z_t+1 = (1 - a_t+1) z_t + a_t+1 x~_t, with z_0 = x~_0 and t pushes before it
    rate     a_t+1   of t
    """

    def __init__(self, model: Tensor, rate: Callable[[int], float]) -> None:
        super().__init__(model)
        self.average, self.rate = model.clone(), rate

    def model(self) -> Tensor:
        return self.average

    def _apply(self, message: Tensor) -> None:
        self.average.lerp_(self.params, self.rate(self.version))
        super()._apply(message)

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "average": self.average}


class MomentumCenter(Center):
    """A center with Nesterov's momentum, whose workers fetch the point that it looks ahead to.

    name      symbol
    velocity  v       v <- delta v + message, then x~ <- x~ + v; a message is -eta g, g at x~ + delta v
    momentum  delta
    """

    def __init__(self, model: Tensor, momentum: float = DELTA) -> None:
        import torch

        super().__init__(model)
        self.velocity, self.momentum = torch.zeros_like(model), momentum
        self._ahead = torch.empty_like(model)

    def fetch(self) -> Fetched:
        import torch

        torch.add(self.params, self.velocity, alpha=self.momentum, out=self._ahead)
        return Fetched(self._ahead, self.version, self.frames)

    def _apply(self, message: Tensor) -> None:
        self.velocity.mul_(self.momentum).add_(message)
        self.params.add_(self.velocity)

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "velocity": self.velocity}
