"""The modelled clock: seconds that a training of K workers would take on K machines that are not there.

Modelled and measured seconds are never mixed. What goes in is measured on one machine (clock/step_time.py) or given;
what is between machines follows from clock/interconnect.py, who waits for whom from clock/stragglers.py.

Definitions, of modelled and of measured time alike:

    speedup     seconds of 1 worker for so many frames, with the same optimiser / seconds of K workers for them
    efficiency  speedup / K
    average     a speedup with everything in it
    peak        the speedup of the best interval between two synchronizations, as CNTK distinguishes the two (Multiple
                GPUs and machines, Block-Momentum SGD): waiting for data and for each other lowers the average.
                Modelled: of an interval in which no minibatch is slower than another

Time is that of the long run: parts of a minibatch and of a synchronization count as such. docs/clock.md says what the
model leaves out.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

from asr_parallel.clock.async_epoch import async_epoch
from asr_parallel.clock.interconnect import Interconnect, all_reduce, broadcast
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.parallel.cost import Setting, StepCost, SyncCost
from asr_parallel.parallel.quadratic_rule import QuadraticRule
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.weighted_mean import BLOCK
from asr_parallel.parallel.worker_options import WorkerOptions

COMM_BYTES = {"float32": (4.0, 0.0), "float16": (2.0, 4 / BLOCK), "int8": (1.0, 4 / BLOCK)}  # integers, their scales
PAYS = 1.1  # twice as many workers that are less than so much faster do not pay
MOST = 1 << 20  # workers, minibatches of a period: the largest that are looked for
NO_STRAGGLERS = Stragglers()


@dataclass(frozen=True, slots=True)
class TimeBreakdown:
    """Seconds of a training by their use, mean of the workers.

    compute: minibatches; wait: until the last of the others has come; exchange: messages that nothing hides, and what a
    synchronization computes; label: pseudo-labels for each other.
    """

    compute: float = 0.0
    wait: float = 0.0
    exchange: float = 0.0
    label: float = 0.0

    @property
    def total(self) -> float:
        return self.compute + self.wait + self.exchange + self.label

    def __add__(self, other: "TimeBreakdown") -> "TimeBreakdown":
        return TimeBreakdown(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def times(self, factor: float) -> "TimeBreakdown":
        return TimeBreakdown(self.compute * factor, self.wait * factor, self.exchange * factor, self.label * factor)


@dataclass(frozen=True, slots=True)
class ModelledClock:
    """A machine, a network between K of it, and a training; the methods answer for different K and periods.

    options: of the workers; of them workers, algorithm, comm_dtype, overlap, sync_first, workers_first and qsr_alpha
        matter here. An epoch is a mean one, of which the part sync_first is synchronized after every minibatch.
    constants: the algorithm's own options; None: its defaults.
    frames: of an epoch, over all workers. How many epochs there are changes neither speedup nor efficiency.
    how: of the all-reduces, see clock/interconnect.py.
    epochs: of the training; with qsr_alpha they matter, as periods follow from the learning rate.
    rates: the learning rate, for a minibatch's mean gradient, of one of so many workers, with so many frames of all in
        an epoch, after so many frames of all.
    longest: the largest worker's share over the mean of all; the others wait at its end.
    """

    options: WorkerOptions
    work: StepCost
    network: Interconnect
    frames: float
    stragglers: Stragglers = NO_STRAGGLERS
    how: str = "best"
    longest: float = 1.0
    constants: Any = None
    epochs: int = 1
    rates: Callable[[int, int], Callable[[int], float]] | None = None

    def __post_init__(self) -> None:
        if self.constants is None:
            object.__setattr__(self, "constants", entry(self.options.algorithm).options())

    def epoch(self) -> TimeBreakdown:
        """Return the modelled seconds of an epoch; ValueError when there is less than a minibatch for each worker."""
        if self._asynchronous:  # whoever is done helps the others: `longest` does not matter
            return TimeBreakdown(
                *async_epoch(
                    self.options.algorithm, self.constants, self.options.workers, self.minibatches, self.work,
                    self.network, self.stragglers,
                )
            )  # fmt: skip
        if self.options.ramp is not None:
            of_frames = ((share, self._of_workers(m).epoch()) for m, share in self.options.ramp.frame_shares().items())
            return sum((parts.times(share) for share, parts in of_frames), TimeBreakdown())
        first = self.options.sync_first if self._synchronizes else 0.0
        parts = self._later_epoch().times(1 - first)
        if not first:
            return parts
        return parts + self.with_(overlap=False)._epoch(SyncCost(1, means=1)).times(first)  # means are waited for

    def seconds_after(self) -> Callable[[float], float]:
        """Return what gives the modelled seconds until so many frames of all workers were trained on.

        They are those of a mean epoch, but for workers whose number grows: the first frames are of few and take long.
        """
        ramp = self.options.ramp
        shares = {self.options.workers: 1.0} if ramp is None else ramp.frame_shares()
        clocks = [self] if ramp is None else [self._of_workers(m) for m in shares]
        of_a_frame = [clock.epoch().total / self.frames for clock in clocks]
        frames = [share * self.epochs * self.frames for share in shares.values()]
        ends = [0.0, *accumulate(frames)]
        seconds = [0.0, *accumulate(count * each for count, each in zip(frames, of_a_frame, strict=True))]

        def after(done: float) -> float:
            part = min(bisect_right(ends, done), len(of_a_frame)) - 1
            return seconds[part] + (done - ends[part]) * of_a_frame[part]

        return after

    def _of_workers(self, workers: int) -> "ModelledClock":
        """Return the part of a training in which so many of a growing number of workers train, all on as much."""
        return replace(self, longest=1.0).with_(workers=workers, workers_first=None)

    def _later_epoch(self) -> TimeBreakdown:
        """Return the modelled seconds of a mean epoch as the algorithm goes when no part is synchronous any more."""
        cost, rounds = self.cost, self.rounds()
        if not rounds:
            return self._epoch(cost)
        counts, minibatches = Counter(rounds), sum(rounds)
        parts = (self._epoch(replace(cost, period=of)).times(of * n / minibatches) for of, n in counts.items())
        return sum(parts, TimeBreakdown())

    def rounds(self) -> list[int]:
        """Return the lengths of the rounds, in minibatches, of a training by the quadratic rule; empty without it.

        They are those after the part sync_first. The last one is as long as is left.
        """
        alpha, workers = self.options.qsr_alpha, self.options.workers
        if alpha is None or not self._synchronizes:
            return []
        assert self.rates is not None, "the quadratic rule follows the learning rate"
        frames = workers * self.work.minibatch  # of all, in a minibatch of each
        rate = self.rates(workers, round(self.frames))
        end = max(1, round(self.epochs * self.minibatches))
        return QuadraticRule(alpha).rounds(
            self.constants.period, lambda done: rate(done * frames), round(self.options.sync_first * end), end
        )

    def _epoch(self, cost: SyncCost) -> TimeBreakdown:
        """Return the modelled seconds of an epoch of synchronous workers."""
        interval, length = self._interval(cost)
        even = self.minibatches / length
        whole = interval.times(self.longest * even)
        compute = interval.compute * even
        return replace(whole, compute=compute, wait=whole.wait + whole.compute - compute)

    def speedup(self) -> float:
        return self.work.one_worker_seconds(self.frames) / self.epoch().total

    def efficiency(self) -> float:
        return self.speedup() / self.options.workers

    def peak(self) -> float:
        """Return the speedup of the best interval between two synchronizations, in which no worker is slow or idle."""
        best = replace(self, stragglers=replace(self.stragglers, jitter=0.0), longest=1.0).with_(
            sync_first=0.0, workers_first=None
        )
        if rounds := self.rounds():
            best = best.with_(qsr_alpha=None, period=max(rounds))
        if self._asynchronous:
            best = best.with_(sim_jitter=0.0, sim_straggler=1.0, sim_pause=0.0)
        return best.speedup()

    @property
    def _asynchronous(self) -> bool:
        """True for asynchronous workers with anybody to wait for."""
        return entry(self.options.algorithm).cls.asynchronous and self.options.workers > 1

    @property
    def _synchronizes(self) -> bool:
        """True for several workers, and for one that a synchronous algorithm moves."""
        cls = entry(self.options.algorithm).cls
        moved = cls.moves_one_worker() or (cls.exchanges_models and self.options.ema > 0)
        return self.options.workers > 1 or (moved and not cls.asynchronous)

    @property
    def minibatches(self) -> float:
        """Minibatches of a worker in an epoch; ValueError when there is less than one."""
        count = self.frames / (self.options.workers * self.work.minibatch)
        if count < 1:
            raise ValueError(
                f"{self.frames:.0f} frames for {self.options.workers} workers: expected at least one minibatch of"
                f" {self.work.minibatch} each"
            )
        return count

    @property
    def cost(self) -> SyncCost:
        """The communication from one synchronization to the next; nothing where there is none.

        A single worker that an algorithm moves has nobody to send anything to, but computes its synchronizations.
        """
        if not self._synchronizes:
            return SyncCost(None)
        setting = Setting(self.options.workers, self.minibatches, self.options.overlap)
        return entry(self.options.algorithm).cls(self.constants).cost(self.work, setting)

    @property
    def has_period(self) -> bool:
        """True when the algorithm has a period that may be chosen."""
        return "period" in entry(self.options.algorithm).own_options

    def _interval(self, cost: SyncCost) -> tuple[TimeBreakdown, float]:
        """Return the time from one synchronization to the next, and the number of minibatches."""
        work, workers = self.work, self.options.workers
        if cost.period is None:
            # Nobody waits for anybody before the end
            length = self.minibatches
            mean, last = self.stragglers.minibatches(workers, length) if workers > 1 else (length, length)
            return TimeBreakdown(mean * work.step_seconds, (last - mean) * work.step_seconds), length
        mean, last = (count * work.step_seconds for count in self.stragglers.minibatches(workers, cost.period))
        exchange = sum(one.times * self._sum(one.bytes) for one in cost.all_reduces)
        if entry(self.options.algorithm).cls.exchanges_models:
            exchange += self._sum(16.0 * workers)  # losses, and which models are finite, come first
        for sent in cost.broadcasts:
            seconds = broadcast(self.network, workers, sent.bytes)
            exchange += sent.times * max(0.0, seconds - sent.hidden_seconds)
        if cost.means:
            numbers, scales = (each * work.parameters for each in COMM_BYTES[self.options.comm_dtype])
            messages = cost.means * self._sum(numbers)
            if self.options.overlap:
                messages = max(0.0, messages - last)
            messages += cost.means * self._sum(scales) if scales else 0.0
            exchange += messages + work.sync_seconds
        label = cost.label_seconds + cost.common_label_seconds
        return TimeBreakdown(mean, last - mean, exchange, label), cost.period

    def _sum(self, size: float) -> float:
        return all_reduce(self.network, self.options.workers, size, self.how)

    def with_(self, **given: object) -> "ModelledClock":
        """Return the same with other options of the workers or the algorithm."""
        own = {name: value for name, value in given.items() if name in entry(self.options.algorithm).own_options}
        others = {name: value for name, value in given.items() if name not in own}
        return replace(self, options=replace(self.options, **others), constants=replace(self.constants, **own))  # type: ignore[arg-type]


def pays_up_to(clock: ModelledClock, gain: float = PAYS) -> int:
    """Return the number of workers, a power of 2, up to which each doubling makes the training `gain` times as fast.

    The time of most methods never grows with K, it only hardly shrinks any more: hence a gain. Where few workers are
    slower than one, which has nobody to talk to, it is counted from the first that are faster. 1: none are. It ends
    where an epoch has less than a minibatch for each.
    """
    workers, found, best = 1, 1, clock.work.one_worker_seconds(clock.frames)
    while workers < MOST and clock.frames >= 2 * workers * clock.work.minibatch:
        workers *= 2
        seconds = clock.with_(workers=workers).epoch().total
        if gain * seconds <= best:
            found, best = workers, seconds
        elif found > 1:
            break
    return found


def smallest_period(clock: ModelledClock, efficiency: float = 0.9) -> int | None:
    """Return the smallest period, in minibatches, at which the efficiency is reached.

    None: at none, or the algorithm has no period.
    """
    if not clock.has_period:
        return None
    return _smallest(lambda period: clock.with_(period=period).efficiency() >= efficiency)


def _smallest(holds: Callable[[int], bool]) -> int | None:
    """Return the smallest whole number up to MOST from which on it holds."""
    if not holds(MOST):
        return None
    low, high = 0, MOST  # it does not hold at low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
