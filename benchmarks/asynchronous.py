"""The cost of simulating asynchronous workers: K replicas in one process, against the steps of synchronous ones.

    python benchmarks/asynchronous.py [simulation] [timeline]

simulation  time of 16 workers' minibatches, exchanges included, over that of 16 stacked replicas of --algorithm average
timeline    events a second without arithmetic, as predict uses them

Contestants take turns in one process with one thread; the result is the median of the ratios within a turn.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import CPU, DEFAULT, RATE, SMALL, WARM_UP, TrainingLoop, arguments, make_store, minibatches

from asr_parallel.clock.async_durations import RandomDurations, make_timeline
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.registry import asynchronous
from asr_parallel.parallel.transport import SingleProcess
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import split
from asr_parallel.training.async_scheduler import AsyncScheduler
from asr_parallel.training.option_groups import OptimizationOptions
from asr_parallel.training.replicas import Replicas

K = 16
NETWORKS: dict[str, tuple[NetworkSpec, int]] = {
    "440-256x3-656, 512 frames": (DEFAULT, 512),
    "440-512x3-157, 128 frames": (SMALL, 128),
}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("async-elastic, period 16", "async-elastic", {"period": 16}),
    ("downpour, period 16", "downpour", {"period": 16}),
    ("downpour, period 1", "downpour", {"period": 1}),
]


class AsyncLoop:
    """A training of simulated workers on noise, without evaluation or checkpoints."""

    def __init__(self, spec: NetworkSpec, store: FrameStore, minibatch: int, name: str, **given: Any) -> None:
        workers, constants = split(algorithm=name, workers=K, sim_jitter=0.2, **given)
        network = StackedNetwork(spec, K, CPU, torch.float32).initialise(1)
        batches = minibatches(store, K, range(K), minibatch, torch.float32)
        self.replicas = Replicas(network, OptimizationOptions())
        self.scheduler = AsyncScheduler(
            asynchronous(name)(constants), WorkerGroup(K), workers, self.replicas.replicas, batches.counts.tolist(),
            1000, minibatch, 0,
        )  # fmt: skip
        self._data = batches.of_replicas((one.share, one.epoch, one.index) for one in self.scheduler.places_ahead())
        self._pushes = self.scheduler.pushes(self._train)
        self._count = 0

    def _train(self, worker: int, frames: int) -> int:
        replica = self.replicas.replicas[worker]
        spliced, labels = next(self._data)
        back = replica.network.backward(spliced, labels)
        replica.optimizer.step(back, RATE)
        self.scheduler.tally.add(worker, back, replica.optimizer.max_change_scale, RATE)
        self._count += 1
        return labels.shape[1]

    def steps(self, count: int) -> float:
        """Train on about `count` minibatches of each worker; return the seconds of one of all workers."""
        began, self._count = time.perf_counter(), 0
        while self._count < count * K:
            event = next(self._pushes)
            self.scheduler.tally.take(event.worker)
            self.scheduler.push(event)
        return (time.perf_counter() - began) / self._count * K


def simulation(rounds: int) -> None:
    """Time of a minibatch of 16 workers, over that of 16 synchronous replicas with an average every 16."""
    print("| network | algorithm | synchronous ms | simulated ms | ratio |\n|---|---|--:|--:|--:|")
    count = 16
    for network, (spec, minibatch) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            store = make_store(Path(folder), 200_000, spec.num_pdfs)
            loop = TrainingLoop(spec, store, minibatch, torch.float32, WorkerGroup(K, SingleProcess()), period=16)
            loop.steps(WARM_UP)
            for case, name, given in CASES:
                own = AsyncLoop(spec, store, minibatch, name, **given)
                own.steps(WARM_UP)
                turns = [(loop.steps(count) / count, own.steps(count)) for _ in range(rounds)]
                ratios = [simulated / synchronous for synchronous, simulated in turns]
                one, other = (1000 * statistics.median(of) for of in zip(*turns, strict=True))
                print(
                    f"| {network} | {case} | {one:.1f} | {other:.1f} |"
                    f" **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |",
                    flush=True,
                )


def timeline(rounds: int) -> None:
    """Events a second of the queue alone, with jitter."""
    print("| workers | period | events/s |\n|--:|--:|--:|")
    for workers, period in ((16, 1), (16, 16), (256, 1)):
        _, constants = split(algorithm="downpour", workers=workers, period=period)
        rule, speeds = asynchronous("downpour")(constants), list[float]()
        for turn in range(rounds):
            durations = RandomDurations(workers, 1.0, 1e-4, 1e-3, jitter=0.2, seed=turn)
            events: Iterator[Any] = make_timeline(rule, [32_000 // workers] * workers, 1, durations).run()
            began = time.perf_counter()
            speeds.append(sum(1 for _ in events) / (time.perf_counter() - began))
        print(f"| {workers} | {period} | {statistics.median(speeds):,.0f} |", flush=True)


PARTS = {"simulation": simulation, "timeline": timeline}


def main() -> None:
    parser = arguments(__doc__, PARTS, rounds=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.parts or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__} Load before: {os.getloadavg()[0]:.2f}\n", flush=True)
        PARTS[name](args.rounds)


if __name__ == "__main__":
    main()
