"""The modelled clock: seconds that a training of K workers would take, where there are no K machines to measure it on.

Modelled and measured seconds are never mixed. What goes in is measured on one machine (clock/step_time.py) or given;
what is between machines follows from clock/interconnect.py, who waits for whom from clock/stragglers.py.

Definitions, of modelled and of measured time alike:

    speedup     seconds of 1 worker for so many frames, with the same optimiser / seconds of K workers for them
    efficiency  speedup / K
    average     a speedup with everything in it
    peak        the speedup of the best stretch between two meetings, as CNTK tells the two apart (Multiple GPUs and
                machines, Block-Momentum SGD): waiting for data and for each other spoils the average. Modelled: of a
                stretch in which no minibatch is slower than another

Time is that of the long run: parts of a minibatch and of a meeting count as such. What the model leaves out is in
docs/clock.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from asr_parallel.clock.interconnect import Interconnect, all_reduce, broadcast
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.parallel.average import PERIOD as AVERAGING_PERIOD
from asr_parallel.parallel.block_momentum import PERIOD as BLOCK_PERIOD
from asr_parallel.parallel.elastic import PERIOD as ELASTIC_PERIOD
from asr_parallel.parallel.ensemble import LABELLED_BYTES, ROUNDS_PER_EPOCH
from asr_parallel.parallel.options import WorkerOptions
from asr_parallel.parallel.weighted_mean import BLOCK

PERIODS = {"average": AVERAGING_PERIOD, "block-momentum": BLOCK_PERIOD, "elastic": ELASTIC_PERIOD}
AVERAGING = (*PERIODS, "colearn")  # those whose meetings are of models
WIRE_BYTES = {"float32": (4.0, 0.0), "float16": (2.0, 4 / BLOCK), "int8": (1.0, 4 / BLOCK)}  # integers, their scales
FORWARD = 1 / 3  # of a step, whose backward pass has two products for each one of the forward pass
PAYS = 1.1  # twice as many workers that are less than so much faster do not pay
MOST = 1 << 20  # workers, minibatches of a period: who looks for more will not find it
NO_STRAGGLERS = Stragglers()


@dataclass(frozen=True, slots=True)
class AllReduce:
    """An all-reduce of `gradient`: bytes, and how many there are a minibatch."""

    bytes: float
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one worker has to do, whatever the others do; measured where nothing else is said.

    step_seconds: a minibatch: forward, backward, optimiser.
    minibatch: frames in it.
    parameters: numbers of the model.
    label_seconds: a forward pass of a minibatch by one model; None: FORWARD of a step.
    topk_seconds: finding the most probable pdfs of a minibatch's frames.
    aggregate_seconds: adding up what another model has told of a minibatch.
    label_bytes: a minibatch's frames and posteriors.
    meeting_seconds: of a worker in a meeting on its own numbers, messages left out.
    sums: what `gradient` adds up over all workers; empty: the gradient alone.
    """

    step_seconds: float
    minibatch: int
    parameters: int
    label_seconds: float | None = None
    topk_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    label_bytes: float = 0.0
    meeting_seconds: float = 0.0
    sums: tuple[AllReduce, ...] = ()

    def __post_init__(self) -> None:
        """ValueError when out of range."""
        if not 0 < self.step_seconds < math.inf or min(self.minibatch, self.parameters) < 1:
            raise ValueError(
                f"step of {self.step_seconds} seconds, minibatch of {self.minibatch} frames, {self.parameters}"
                " parameters: expected numbers above 0"
            )

    def one_worker(self, frames: float) -> "TimeBreakdown":
        """TimeBreakdown of a worker alone, the baseline of every speedup."""
        return TimeBreakdown(frames / self.minibatch * self.step_seconds)


@dataclass(frozen=True, slots=True)
class TimeBreakdown:
    """Where the time of a training goes, mean of the workers.

    compute: minibatches; wait: until the last of the others has come; exchange: messages that nothing hides, and what a
    meeting does with them; label: pseudo-labels for each other.
    """

    compute: float = 0.0
    wait: float = 0.0
    exchange: float = 0.0
    label: float = 0.0

    @property
    def total(self) -> float:
        return self.compute + self.wait + self.exchange + self.label

    def times(self, factor: float) -> "TimeBreakdown":
        return TimeBreakdown(self.compute * factor, self.wait * factor, self.exchange * factor, self.label * factor)


@dataclass(frozen=True, slots=True)
class ModelledClock:
    """A machine, a network between K of it, and a training; the methods answer for different K and periods.

    options: what the workers do together; of them algorithm, period, wire, overlap, local_epochs and ensemble's
        relabel_fraction, compress_minibatches, exchange and top matter here.
    frames: of an epoch, over all workers. How many epochs there are changes neither speedup nor efficiency.
    how: of the all-reduces, see clock/interconnect.py.
    longest: the largest worker's share over the mean of all; the others wait at its end.
    """

    options: WorkerOptions
    work: StepCost
    network: Interconnect
    frames: float
    stragglers: Stragglers = NO_STRAGGLERS
    how: str = "best"
    longest: float = 1.0

    def epoch(self) -> TimeBreakdown:
        """Modelled seconds of an epoch; ValueError when there is less than a minibatch for each of the workers."""
        stretch, length = self._stretch()
        even = self.minibatches / length
        whole = stretch.times(self.longest * even)
        compute = stretch.compute * even
        return replace(whole, compute=compute, wait=whole.wait + whole.compute - compute)

    def speedup(self) -> float:
        return self.work.one_worker(self.frames).total / self.epoch().total

    def efficiency(self) -> float:
        return self.speedup() / self.options.workers

    def peak(self) -> float:
        """Speedup of the best stretch between two meetings: nobody is slower than usual, or has run out of data."""
        return replace(self, stragglers=replace(self.stragglers, jitter=0.0), longest=1.0).speedup()

    @property
    def minibatches(self) -> float:
        """Of a worker in an epoch; ValueError when there is less than one."""
        count = self.frames / (self.options.workers * self.work.minibatch)
        if count < 1:
            raise ValueError(
                f"{self.frames:.0f} frames for {self.options.workers} workers: expected at least one minibatch of"
                f" {self.work.minibatch} each"
            )
        return count

    @property
    def period(self) -> float | None:
        """Minibatches of a worker between two meetings; None: never."""
        options = self.options
        if options.workers == 1 or options.algorithm == "none":
            return None
        if options.algorithm == "gradient":
            return 1.0
        if options.algorithm == "colearn":
            return options.local_epochs * self.minibatches
        if options.algorithm == "ensemble":
            return options.period or max(1.0, self.minibatches / ROUNDS_PER_EPOCH)
        return options.period or PERIODS[options.algorithm]

    def _stretch(self) -> tuple[TimeBreakdown, float]:
        """Of the minibatches from one meeting to the next, and how many they are."""
        work, workers, period = self.work, self.options.workers, self.period
        if period is None:
            # Nobody waits for anybody before the end
            length = self.minibatches
            mean, last = self.stragglers.minibatches(workers, length) if workers > 1 else (length, length)
            return TimeBreakdown(mean * work.step_seconds, (last - mean) * work.step_seconds), length
        mean, last = (count * work.step_seconds for count in self.stragglers.minibatches(workers, period))
        compute = TimeBreakdown(mean, last - mean)
        if self.options.algorithm == "gradient":
            sums = work.sums or (AllReduce(4.0 * work.parameters),)
            return replace(compute, exchange=sum(one.times * self._sum(one.bytes) for one in sums)), period
        # Losses, and whose model is finite, come first
        before = self._sum(16.0 * workers)
        if self.options.algorithm == "ensemble":
            exchange, label = self._ensemble(period)
            return replace(compute, exchange=before + exchange, label=label), period
        numbers, scales = (each * work.parameters for each in WIRE_BYTES[self.options.comm_dtype])
        messages = self._sum(numbers)
        if self.options.overlap:
            messages = max(0.0, messages - last)
        messages += self._sum(scales) if scales else 0.0
        return replace(compute, exchange=before + messages + work.meeting_seconds), period

    def _sum(self, size: float) -> float:
        return all_reduce(self.network, self.options.workers, size, self.how)

    def _ensemble(self, period: float) -> tuple[float, float]:
        """Exchange and labelling of a round of EC-DNN, as training/compression.py does them.

        Models come by one after the other. While one labels the next is on its way, with overlap during a minibatch of
        training too. Where what is to be labelled does not fit into LABELLED_BYTES, all come by again for the rest.
        Posteriors: all workers label at the same time, then they tell. The compression is training.
        """
        options, work = self.options, self.work
        relabelled = min(options.relabel_fraction * self.minibatches, options.compress_minibatches or period, period)
        forward = FORWARD * work.step_seconds if work.label_seconds is None else work.label_seconds
        models = options.exchange == "models"
        together = options.workers if models and options.overlap else 1
        at_once = max(1, LABELLED_BYTES // max(1.0, work.label_bytes * together))
        turns = max(1, math.ceil(int(relabelled + 1e-9) / at_once))  # of whole minibatches
        by_one = relabelled * forward
        size = 4.0 * work.parameters if models else 4.0 * options.top * relabelled * work.minibatch / turns
        passing = broadcast(self.network, options.workers, size)
        keep = relabelled * work.topk_seconds
        if not models:  # each has said what it keeps of its own, and keeps something of the sum
            hear = options.workers * relabelled * work.aggregate_seconds
            return turns * options.workers * passing, by_one + hear + 2 * keep
        meanwhile = by_one / turns + (work.step_seconds if options.overlap else 0.0)
        a_turn = passing + (options.workers - 1) * max(0.0, passing - meanwhile)
        return turns * a_turn, options.workers * by_one + keep

    def with_(self, **options: object) -> "ModelledClock":
        """The same with other options of WorkerOptions."""
        return replace(self, options=replace(self.options, **options))  # type: ignore[arg-type]


def pays_up_to(clock: ModelledClock, gain: float = PAYS) -> int:
    """The number of workers, a power of 2, up to which each doubling makes the training `gain` times as fast.

    The time of most methods never grows with K, it only hardly shrinks any more: hence a gain. Where few workers are
    slower than one, which has nobody to talk to, it is counted from the first that are faster. 1: none are. It ends
    where an epoch has less than a minibatch for each.
    """
    workers, found, best = 1, 1, clock.work.one_worker(clock.frames).total
    while workers < MOST and clock.frames >= 2 * workers * clock.work.minibatch:
        workers *= 2
        seconds = clock.with_(workers=workers).epoch().total
        if gain * seconds <= best:
            found, best = workers, seconds
        elif found > 1:
            break
    return found


def smallest_period(clock: ModelledClock, efficiency: float = 0.9) -> int | None:
    """The smallest period, in minibatches, at which the efficiency is reached.

    None: at none, or the algorithm has no period.
    """
    if clock.options.algorithm not in (*PERIODS, "ensemble"):
        return None
    return _smallest(lambda period: clock.with_(period=period).efficiency() >= efficiency)


def _smallest(holds: Callable[[int], bool]) -> int | None:
    """The smallest whole number up to MOST from which on it holds."""
    if not holds(MOST):
        return None
    low, high = 0, MOST  # it does not hold at low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
