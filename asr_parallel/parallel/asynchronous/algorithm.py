"""The base class of asynchronous algorithms: what a worker and the center send each other, and what they do with it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from asr_parallel.parallel.algorithm import BaseAlgorithm
from asr_parallel.parallel.asynchronous.center import Center
from asr_parallel.parallel.asynchronous.life import Phase
from asr_parallel.parallel.cost import Setting, StepCost, SyncCost
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor

TEN_GBE = "10 Gb/s Ethernet, see clock/interconnect.py"


@dataclass(frozen=True)
class AsyncOptions:
    """Options of all asynchronous algorithms; those named sim_ are of workers that one process simulates."""

    leave_unread: bool = option(
        False, "several processes: minibatches of a lost worker are reported as unread, not handed to the others"
    )
    sim_step_seconds: float | None = option(
        None, "simulated: of a minibatch", above=0, unset="by its products, at 1e11 operations a second"
    )
    sim_jitter: float = option(
        0.0, "simulated: deviation of the time of a minibatch or a message over its mean; log-normal", least=0
    )
    sim_straggler: float = option(1.0, "simulated: time of the last worker's minibatches over the others'", above=0)
    sim_pause: float = option(
        0.0, "simulated: minibatches' time that the last worker stands still after every hundredth", least=0
    )
    sim_latency: float = option(20e-6, "simulated: seconds of a message beside its bytes", least=0, source=TEN_GBE)
    sim_bandwidth: float = option(
        1.1769e9, "simulated: bytes a second at the center's port, in either direction", above=0, source=TEN_GBE
    )

    def check_processes(self, processes: int) -> None:
        """Raise ValueError for an option without meaning in so many processes: one simulates, several have losses."""
        for one in fields(AsyncOptions):
            value, simulates = getattr(self, one.name), one.name.startswith("sim_")
            if value != one.default and simulates == (processes > 1):
                many, expected = ("es", "one") if processes > 1 else ("", "several")
                raise ValueError(f"{one.name} {value} is of no use to {processes} process{many}; expected {expected}")


@dataclass(frozen=True)
class PeriodOptions(AsyncOptions):
    """Options of asynchronous algorithms with a period."""

    period: int = option(
        16, "minibatches of a worker between two exchanges", least=1, source="the paper has 1 to 64; ours"
    )


class AsyncAlgorithm(BaseAlgorithm):
    """A rule by which a worker and the center exchange.

    Beside its parameters a worker keeps one vector, `kept`, whose meaning the rule decides. A worker that joins, at the
    beginning or later, fetches the center's model and starts from it.

    exchange: order of the two halves of an exchange.
    """

    asynchronous = True
    has_separate_global_model = True
    uses_means = False
    supports = frozenset[str]()
    exchange: ClassVar[tuple[Phase, Phase]]

    def start(self, num_workers: int) -> None:
        """Take the number of workers; ValueError for constants that it forbids."""

    def center(self, model: Tensor) -> Center:
        """Return a center that begins with a copy of a model (P,)."""
        return Center(model)

    def join(self, params: Tensor, kept: Tensor, center: Tensor) -> None:
        """Begin from the center's model. All are (P,); the first two are written to."""
        params.copy_(center)
        kept.copy_(center)

    def fetched(self, params: Tensor, kept: Tensor, center: Tensor, alone: bool) -> None:
        """Act on the center's model. All are (P,); the first two are written to.

        Args:
            alone: whether nobody but this worker has pushed since it last fetched.
        """
        raise NotImplementedError

    def message(self, params: Tensor, kept: Tensor) -> Tensor:
        """Return (P,) for the center to add, to be read before the next fetch. `kept` may be written to."""
        raise NotImplementedError

    def stepped(self, params: Tensor, kept: Tensor) -> bool:
        """Act after the first minibatch that follows an exchange; return whether `params` was written to."""
        return False

    def left_over(self, params: Tensor, center: Tensor) -> Tensor | None:
        """Return (P,) what rounding has kept from a center to which nobody else has pushed; None: nothing."""
        return None

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        return SyncCost(self.period)
