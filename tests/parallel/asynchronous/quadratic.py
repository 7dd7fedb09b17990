"""Workers on small functions, for tests: the worker and center code of trainings without a network."""

from collections.abc import Callable

import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.life import Life
from asr_parallel.parallel.asynchronous.port import LocalPort
from asr_parallel.parallel.asynchronous.worker import Worker
from asr_parallel.parallel.registry import asynchronous, entry

Gradient = Callable[[Tensor, int], Tensor]  # of the parameters and the number of the worker's step


class PlainReplica:
    """Parameters moved by plain SGD, or by Nesterov's momentum."""

    def __init__(self, start: Tensor, gradient: Gradient, rate: float, momentum: float = 0.0) -> None:
        self.params, self._gradient, self._rate, self._momentum = start.clone(), gradient, rate, momentum
        self._velocity, self.steps = torch.zeros_like(start), 0

    def params_changed(self) -> None:
        pass

    def forget(self) -> None:
        self._velocity.zero_()

    def leave_lookahead(self) -> None:
        self.params.sub_(self._velocity, alpha=self._momentum)

    def enter_lookahead(self) -> None:
        self.params.add_(self._velocity, alpha=self._momentum)

    def train(self, frames: int) -> int:
        gradient = self._gradient(self.params, self.steps)
        self.leave_lookahead()
        self._velocity.mul_(self._momentum).sub_(gradient, alpha=self._rate)
        self.params.add_(self._velocity)
        self.enter_lookahead()
        self.steps += 1
        return 1


def rule(name: str, workers: int, **given: float) -> AsyncAlgorithm:
    """Return a started rule."""
    made = asynchronous(name)(entry(name).options(**given))
    made.start(workers)
    return made


class Workers:
    """K workers on functions, and a center."""

    def __init__(self, of: AsyncAlgorithm, start: Tensor, replicas: list[PlainReplica], steps: int) -> None:
        self.center = of.center(start)
        assert of.period is not None
        self.port = LocalPort(self.center, Leases([steps] * len(replicas), 1, of.period))
        self.replicas = replicas
        self.workers = [Worker(k, of, replica, self.port) for k, replica in enumerate(replicas)]
        self.lives = [Life(of.exchange, of.period) for _ in replicas]

    def act(self, worker: int) -> str:
        """Let a worker do its next action; return its name."""
        life, own = self.lives[worker], self.workers[worker]
        name = life.phase.name
        if name == "STEP":
            own.step(self.replicas[worker].train)
        else:
            getattr(own, name.lower())()
        life.advance(lambda: self.port.lease(worker))
        return name
