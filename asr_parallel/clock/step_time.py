"""Measurements of a worker's minibatch on this machine, for the modelled clock (clock/modelled_clock.py)."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.natural_gradient import NUM_INITIAL_UPDATES
from asr_parallel.nnet.ng_sgd import RANK_IN, RANK_OUT, UPDATE_PERIOD
from asr_parallel.nnet.optimizers import optimizer as make_optimizer
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.nnet.spec import NetworkSpec, layout
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithm import Context
from asr_parallel.parallel.cost import AllReduce, StepCost
from asr_parallel.parallel.ecdnn.soft_labels import TOP, SoftLabels
from asr_parallel.parallel.registry import entry, synchronous
from asr_parallel.parallel.sync_info import SyncInfo
from asr_parallel.parallel.synchronizer import synchronizer
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions

RATE = 1e-6  # small: noise is not to be learnt, only to be computed with
BLOCKS = 11  # of UPDATE_PERIOD minibatches: of natural gradient one in so many is dearer than the others
LEAST_SECONDS = 1.5  # of measuring: what slows a machine down comes in bursts of some tenths of a second
WARM_UP = NUM_INITIAL_UPDATES + 2  # minibatches: natural gradient's first are dearer, and memory is new
HELD = 4  # different minibatches
MOMENTUM = 0.9
NORMAL_DEVIATION = 1.4826  # standard over median absolute deviation, of a normal distribution


@dataclass(frozen=True, slots=True)
class StepTime:
    """Medians of blocks of minibatches.

    seconds: of a minibatch of all replicas: forward, backward and optimiser.
    jitter: deviation of one minibatch's time over its median, from the median deviation of the blocks: another
        process that takes the core for a moment does not count.
    label_seconds: of one model's forward pass of a minibatch, with softmax and sum, as pseudo-labels need it.
    topk_seconds: of finding the most probable pdfs of a minibatch, as pseudo-labels are stored.
    aggregate_seconds: of adding up the posteriors of a minibatch received from one other model.
    """

    seconds: float
    jitter: float
    label_seconds: float
    topk_seconds: float = 0.0
    aggregate_seconds: float = 0.0


def measure_step(
    spec: NetworkSpec,
    minibatch: int,
    optimizer: str = "ng-sgd",
    precision: str = "auto",
    device: str = "auto",
    replicas: int = 1,
    blocks: int = BLOCKS,
    least_seconds: float = LEAST_SECONDS,
    data: Iterator[tuple[Tensor, Tensor]] | None = None,
) -> StepTime:
    """Time minibatches on this machine, with as many threads as torch has been given.

    With one thread on a CPU its own time counts, in which it waits for no other program.

    Args:
        blocks: of four minibatches each, after a warm-up; more where they have not taken least_seconds.
        data: spliced frames and labels (training/minibatches.py), whose reading then counts; None: noise that lies
            ready.

    Raises:
        ValueError: an unknown name, a device that is not there, or numbers out of range.
    """
    if minibatch < 1 or replicas < 1 or blocks < 2:
        raise ValueError(f"minibatch {minibatch}, replicas {replicas}, blocks {blocks}: expected at least 1, 1 and 2")
    place = choose_device(device)
    network = StackedNetwork(spec, replicas, place, choose_dtype(precision, place)).initialise(0)
    noise = _noise(network, minibatch)
    train = _training(network, optimizer, data or itertools.cycle(noise))
    model, outputs = network.replica(0), Outputs()
    total = torch.zeros(1, minibatch, spec.num_pdfs, device=place)

    def label(count: int) -> None:
        for n in range(count):
            total.add_(outputs.of_one(model.logits(noise[n % HELD][0][:1])))

    kept = SoftLabels.of(outputs.posterior(outputs.of_one(model.logits(noise[0][0][:1]))), min(TOP, spec.num_pdfs))

    def topk(count: int) -> None:
        for _ in range(count):
            kept.put(outputs.posterior(total))

    def aggregate(count: int) -> None:
        for _ in range(count):
            total.add_(outputs.of_posterior(kept.dense()))

    train(WARM_UP)
    for of_labels in (label, topk, aggregate):
        of_labels(1)
    clock = _clock(place)
    times = _times(train, place, blocks, least_seconds, time.perf_counter if data else clock)  # another thread reads
    labels, topks, aggregates = (
        statistics.median(_times(of, place, blocks, least_seconds / 4, clock)) for of in (label, topk, aggregate)
    )
    seconds = statistics.median(times)
    deviation = NORMAL_DEVIATION * statistics.median(abs(one - seconds) for one in times)
    jitter = deviation * UPDATE_PERIOD**0.5 / seconds
    return StepTime(seconds, jitter, labels, topks, aggregates)


def measure_sync(
    spec: NetworkSpec,
    options: WorkerOptions,
    minibatch: int,
    optimizer: str = "ng-sgd",
    precision: str = "auto",
    device: str = "auto",
    blocks: int = BLOCKS,
) -> float:
    """Return the median seconds of a process with one worker in a synchronization, messages left out.

    It comes after minibatches, as in a training, whose data have driven other models out of the caches. The algorithm
    has its default constants: some have limits that depend on K, and none matters to the time. 0 where it forms no
    mean of models.
    """
    place = choose_device(device)
    network = StackedNetwork(spec, 1, place, choose_dtype(precision, place)).initialise(0)
    algorithm = synchronous(options.algorithm)(entry(options.algorithm).options())
    algorithm.start(network.parameters[0], Context(WorkerGroup()))
    synchronizing = synchronizer(algorithm, WorkerGroup(), network, options)
    info = SyncInfo(np.ones(1, dtype=np.int64), np.ones(1), np.ones(1, dtype=bool), RATE, 0)

    def synchronize() -> None:
        bool(network.parameters.sum(dim=1).isfinite())
        synchronizing.synchronize(network, info)

    train = _training(network, optimizer, itertools.cycle(_noise(network, minibatch)))

    def after_training() -> float:
        train(1)
        return timed(synchronize, place, _clock(place))

    after_training()
    return statistics.median(after_training() for _ in range(blocks))


def _noise(network: StackedNetwork, minibatch: int) -> list[tuple[Tensor, Tensor]]:
    """Return HELD minibatches for every replica."""
    spec, random = network.spec, torch.Generator().manual_seed(0)
    replicas = len(network.parameters)
    return [
        (
            torch.randn(replicas, minibatch, spec.input_dim, generator=random).to(network.device, network.dtype),
            torch.randint(spec.num_pdfs, (replicas, minibatch), generator=random).to(network.device),
        )
        for _ in range(HELD)
    ]


def _training(network: StackedNetwork, optimizer: str, data: Iterator[tuple[Tensor, Tensor]]) -> Callable[[int], None]:
    """Return a function that trains on so many minibatches."""
    steps = make_optimizer(optimizer, network, MaxChange(), MOMENTUM)

    def train(count: int) -> None:
        for _ in range(count):
            steps.step(network.backward(*next(data)), RATE)

    return train


def _times(
    work: Callable[[int], None], device: torch.device, blocks: int, least_seconds: float, clock: Callable[[], float]
) -> list[float]:
    """Return the seconds of a minibatch in each of several blocks of UPDATE_PERIOD. work: on so many minibatches."""
    found: list[float] = []
    while len(found) < blocks or sum(found) < least_seconds:
        found.append(timed(lambda: work(UPDATE_PERIOD), device, clock))
    return [seconds / UPDATE_PERIOD for seconds in found]


def timed(work: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Return the seconds of some work, on a GPU until it is done there."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def _clock(device: torch.device) -> Callable[[], float]:
    """Return a clock for the work of this thread: of its own time, so that other programs count little."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def gradient_sums(spec: NetworkSpec, optimizer: str) -> tuple[AllReduce, ...]:
    """Return the all-reduces of a minibatch where gradients are summed.

    They are the gradient; with natural gradient also the Fisher statistics, when estimates move, and at every minibatch
    two sums of squares for each side of every layer.
    """
    gradient = AllReduce(4.0 * spec.num_parameters)
    if optimizer != "ng-sgd":
        return (gradient,)
    places = layout(spec)
    sides = [(min(RANK_IN, (place.into + 2) // 2), place.into + 1) for place in places]
    sides += [(min(RANK_OUT, (place.out + 1) // 2), place.out) for place in places]
    fisher = 4.0 * sum(rank * dim for rank, dim in sides)
    return gradient, AllReduce(fisher, 1 / UPDATE_PERIOD), AllReduce(4.0 * len(sides), 2.0)


def work_of(spec: NetworkSpec, minibatch: int, optimizer: str, step: StepTime | float, sync: float = 0.0) -> StepCost:
    """Return what a worker has to do.

    Args:
        step: as measured, or seconds that were given.
        sync: seconds of its own in a synchronization.
    """
    known: dict[str, float] = {}
    if isinstance(step, StepTime):
        known = {name: getattr(step, name) for name in ("label_seconds", "topk_seconds", "aggregate_seconds")}
    return StepCost(
        step.seconds if isinstance(step, StepTime) else step,
        minibatch,
        spec.num_parameters,
        **known,
        label_bytes=4.0 * minibatch * (spec.num_pdfs + spec.input_dim),
        sync_seconds=sync,
        sums=gradient_sums(spec, optimizer),
    )
