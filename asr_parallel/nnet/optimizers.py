"""The optimisers, by their names."""

from typing import Any

import torch
from torch import Tensor

from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.ng_sgd import NgSgd
from asr_parallel.nnet.optimizer import Optimizer, Tensors
from asr_parallel.nnet.products import Add
from asr_parallel.nnet.stacked import StackedNetwork

ADAM_BETAS = (0.9, 0.999)  # Kingma & Ba, 2015
ADAM_EPSILON = 1e-8
ADAM_RATE = 1e-3  # per minibatch, same source


class Sgd(Optimizer):
    """Plain stochastic gradient descent: w -= rate * g."""

    def _tensors(self) -> Tensors:
        return {}


class Momentum(Optimizer):
    """v = m v + g; w -= rate * (1 - m) * v.

    The factor 1 - m, Kaldi nnet3's and its RBMs', keeps the effective learning rate what it is without momentum;
    torch.optim.SGD and Kaldi's nnet1 fine-tuning have none.
    """

    takes_momentum = True

    def __init__(
        self, network: StackedNetwork, max_change: MaxChange | None, momentum: float, add: Add | None = None
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum {momentum}: expected at least 0 and below 1")
        super().__init__(network, max_change, add)
        self.momentum = momentum
        self._velocity = torch.zeros_like(network.parameters)

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        decay = torch.where(finite, self.momentum, 1.0)[:, None]
        self._velocity.mul_(decay).add_(self._change.flat)  # a skipped replica's gradient is zero by now
        self._change.flat.copy_(self._velocity)
        return factors * (finite[:, None] * (1 - self.momentum))

    def moments(self) -> list[Tensor]:
        return [self._velocity]

    def _tensors(self) -> Tensors:
        return {"velocity": self._velocity}


class Nesterov(Momentum):
    """Nesterov's momentum, v = m v + g with g taken where the velocity will lead.

    EAMSGD's: Zhang, Choromanska & LeCun, arXiv 1412.6651, section 2.2.

    Table: momentum = delta; velocity, times -rate (1 - delta), = v^i; parameters = x^i + delta v^i.
    `leave_lookahead` gives x^i.

    As in Momentum the rate is scaled by 1 - momentum: the paper's eta is rate (1 - delta). Limits hold for v^i, the
    change of x^i, and with it for how far is looked ahead.
    """

    def __init__(
        self, network: StackedNetwork, max_change: MaxChange | None, momentum: float, add: Add | None = None
    ) -> None:
        super().__init__(network, max_change, momentum, add)
        self._last = torch.zeros(network.replicas, len(self._spans), device=network.device)  # factors of v^i

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        # to x^i; the others stay where they are
        self._go(self._velocity, -self.momentum * self._last * finite[:, None])
        return super()._direct(factors, finite)

    def _moved(self, factors: Tensor, finite: Tensor) -> None:
        self._last.copy_(torch.where(finite[:, None], factors, self._last))
        self._go(self._velocity, self.momentum * self._last * finite[:, None])

    def leave_lookahead(self) -> None:
        self._go(self._velocity, -self.momentum * self._last)
        self.network.parameters_changed()

    def enter_lookahead(self) -> None:
        self._go(self._velocity, self.momentum * self._last)
        self.network.parameters_changed()

    def _tensors(self) -> Tensors:
        return {**super()._tensors(), "last": self._last}


class Adam(Optimizer):
    """Kingma & Ba, 2015, on the gradient summed over the minibatch; the rate is per minibatch, as always with Adam.

    Limits are on the change itself, whatever the rate's unit. Adam's first is about rate * sqrt(parameters) long and
    later ones are shorter: at 0.001 the limit of 0.75 is met by hidden layers of more than 560,000 parameters.

    Table: _mean = m, _square = v, _steps = t of the paper's Algorithm 1.
    """

    rate_per_frame = False

    def __init__(self, network: StackedNetwork, max_change: MaxChange | None, add: Add | None = None) -> None:
        super().__init__(network, max_change, add)
        self._mean = torch.zeros_like(network.parameters)
        self._square = torch.zeros_like(network.parameters)
        self._steps = torch.zeros(network.replicas, dtype=torch.int64, device=network.device)

    @classmethod
    def default_rate(cls, nonlinearity: str) -> float:
        return ADAM_RATE

    def _direct(self, factors: Tensor, finite: Tensor) -> Tensor:
        gradient, moved = self._change.flat, finite[:, None].float()
        self._steps += finite
        mean_beta, square_beta = ADAM_BETAS
        self._mean.lerp_(gradient, (1 - mean_beta) * moved)
        self._square.lerp_(gradient.square(), (1 - square_beta) * moved)
        steps = self._steps.clamp_min(1)[:, None]
        mean_correction, square_correction = 1 - mean_beta**steps, 1 - square_beta**steps
        root = (self._square / square_correction).sqrt_().add_(ADAM_EPSILON)
        torch.div(self._mean, root, out=gradient)
        return factors * moved / mean_correction

    def moments(self) -> list[Tensor]:
        return [self._mean, self._square]

    def _tensors(self) -> Tensors:
        return {"mean": self._mean, "square": self._square, "steps": self._steps}


_classes: dict[str, type[Optimizer]] = {
    "ng-sgd": NgSgd, "sgd": Sgd, "momentum": Momentum, "nesterov": Nesterov, "adam": Adam,
}  # fmt: skip
assert tuple(_classes) == OPTIMIZERS


def optimizer_class(name: str) -> type[Optimizer]:
    """Return the class of an optimiser by its name in OPTIMIZERS; ValueError for another."""
    if name not in _classes:
        raise ValueError(f"unknown optimizer {name!r}; expected one of {', '.join(OPTIMIZERS)}")
    return _classes[name]


def optimizer(
    name: str, network: StackedNetwork, max_change: MaxChange | None, momentum: float, add: Add | None = None
) -> Optimizer:
    """Return the optimiser of this name in OPTIMIZERS; ValueError for another."""
    cls: Any = optimizer_class(name)
    made: Optimizer = cls(network, max_change, **({"momentum": momentum} if cls.takes_momentum else {}), add=add)
    return made
