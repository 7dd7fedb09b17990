"""What it costs that two processes train together: two of them, a thread and a core each, and what they measure.

    python benchmarks/parallel.py [speed] [share] [sums] [bytes]

speed   both against one of them alone, at 440-1024x4-2000, natural gradient, minibatches of 512, averages every 16
share   synchronization's part of the wall time, by algorithm and period
sums    a mean of models against nothing but dist.all_reduce of as many bytes, in every comm_dtype
bytes   sent by a worker, as counted and as the loopback device counted them, against the formula

Contestants take turns; what is compared is the median of the ratios within a turn.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from training import LARGE, PRECISIONS, RATE, SMALL, forever, make_store, shares

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ng_sgd import RANK_IN, RANK_OUT, UPDATE_PERIOD
from asr_parallel.nnet.optimizer import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.precision import choose_dtype
from asr_parallel.nnet.spec import NetworkSpec, layout
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.weighted_mean import BLOCK, COMM_DTYPES, WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions, split
from asr_parallel.training.minibatches import Minibatches

SENT = Path("/sys/class/net/lo/statistics/tx_bytes")
WARM_UP = 16  # minibatches: the preconditioners' first are dearer; and a meeting at the usual period
FAR = 1e9  # nats a frame: nobody is left out


class Training:
    """A process's part in a training of two workers, or a worker alone, on noise from a frame store."""

    def __init__(
        self,
        spec: NetworkSpec,
        store: FrameStore,
        minibatch: int,
        precision: torch.dtype,
        group: WorkerGroup,
        options: WorkerOptions,
        constants: Any,
        optimiser: str = "ng-sgd",
        epoch: int = 16,
    ) -> None:
        """epoch: minibatches, for algorithms that count in epochs."""
        own, cpu = list(group.local_workers), torch.device("cpu")
        self.group, self.minibatch = group, minibatch
        self.algorithm = entry(options.algorithm).cls(constants)
        self.network = StackedNetwork(spec, len(own), cpu, precision).initialise(1)
        add = self._timed(self.algorithm.sum_gradients) if self.algorithm.sum_gradients else None
        self.optimizer = optimizer(optimiser, self.network, MaxChange(), 0.9, add)
        parts = shares(store, group.num_workers)
        self._data = forever(Minibatches(store, [parts[k] for k in own], own, minibatch, 0, None, precision, cpu))
        options = replace(options, drop_worse=FAR)
        self.rounds = SyncScheduler(
            self.algorithm, group, self.network, options, self.optimizer, minibatches_per_epoch=epoch, epochs=1000
        )
        self.in_sums = 0.0

    def _timed(self, add: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        def timed(tensor: Tensor) -> None:
            began = time.perf_counter()
            add(tensor)
            self.in_sums += time.perf_counter() - began

        return timed

    def steps(self, count: int) -> float:
        """Train on so many minibatches; seconds it took."""
        frames = np.full(self.group.num_workers, self.minibatch)
        began = time.perf_counter()
        for _ in range(count):
            spliced, labels = next(self._data)
            minibatch = self.network.backward(spliced, labels)
            self.optimizer.step(minibatch, RATE, None, int(frames.sum()))
            self.rounds.after_batch(self.network, frames, minibatch.loss_sum, RATE)
        return time.perf_counter() - began


def together(transport: Transport, work: Callable[[], float]) -> float:
    """Seconds of the slowest, all begun at once."""
    transport.barrier()
    return max(transport.all_gather_object(work()))


def speed(transport: Transport, store: FrameStore, spec: NetworkSpec, minibatch: int, rounds: int) -> None:
    """Two processes against one, and against two that never meet: what the machine itself takes from them."""
    count = 48
    show(transport, "| precision | one process | two apart | x one | two, averages every 16 | x one |")
    show(transport, "|---|--:|--:|--:|--:|--:|")
    for name, precision in PRECISIONS.items():
        pair = WorkerGroup(2, transport)
        of_two = {
            kind: Training(spec, store, minibatch, precision, pair, *split(workers=2, algorithm=kind, period=period))
            for kind, period in (("none", None), ("average", 16))
        }
        alone = Training(spec, store, minibatch, precision, WorkerGroup(1, SingleProcess()), *split(workers=1))
        for training in (alone, *of_two.values()):
            together(transport, lambda training=training: training.steps(WARM_UP))
        found: dict[str, list[float]] = {"one": [], "none": [], "average": []}
        for _ in range(rounds):
            one = together(transport, lambda alone=alone: alone.steps(count) if transport.rank == 0 else 0.0)
            found["one"].append(count * minibatch / one)
            for kind, training in of_two.items():
                seconds = together(transport, lambda training=training: training.steps(count))
                found[kind].append(2 * count * minibatch / seconds)
        medians = {kind: statistics.median(values) for kind, values in found.items()}
        ratios = {k: statistics.median(b / a for a, b in zip(found["one"], found[k], strict=True)) for k in of_two}
        least, most = (pick(b / a for a, b in zip(found["one"], found["average"], strict=True)) for pick in (min, max))
        show(
            transport,
            f"| {name} | {medians['one']:,.0f} | {medians['none']:,.0f} | {ratios['none']:.2f}"
            f" | {medians['average']:,.0f} | **{ratios['average']:.2f}** ({least:.2f} to {most:.2f}) |",
        )


def share(transport: Transport, store: FrameStore, spec: NetworkSpec, minibatch: int, rounds: int) -> None:
    """Waited until the other has come; moved: on means, and on what the algorithm does with them (gradient: both)."""
    precision = choose_dtype("auto", torch.device("cpu"))
    show(transport, "| algorithm | period | overlap | frames/s | waited | moved | both |")
    show(transport, "|---|--:|---|--:|--:|--:|--:|")
    rows = [("none", None, False)]
    rows += [
        (name, period, overlap)
        for name in ("average", "block-momentum", "elastic")
        for period in (1, 16, 256)
        for overlap in (False, True)
    ]
    rows += [("gradient, sgd", None, False), ("gradient", None, False)]
    for name, period, overlap in rows:
        kind, _, optimiser = name.partition(", ")
        options = split(workers=2, algorithm=kind, period=period, overlap=overlap)
        training = Training(
            spec, store, minibatch, precision, WorkerGroup(2, transport), *options, optimiser or "ng-sgd"
        )
        training.steps(WARM_UP)
        if period == 256:  # the measured part has a meeting in its midst
            training.steps(period // 2 - WARM_UP)
        watched = training.rounds
        waited, moved, in_sums = watched.waited_seconds, watched.moved_seconds, training.in_sums
        count = max(48, period or 0)
        seconds = together(transport, lambda training=training, count=count: training.steps(count))
        spent = [watched.waited_seconds - waited, watched.moved_seconds - moved + training.in_sums - in_sums]
        waited, moved = (
            statistics.mean(of_ranks) / seconds for of_ranks in zip(*transport.all_gather_object(spent), strict=True)
        )
        apart = "in sums" if kind == "gradient" else f"{100 * waited:.2f} %"
        show(
            transport,
            f"| {name} | {'-' if kind == 'none' else period or 1} | {'yes' if overlap else 'no'}"
            f" | {2 * count * minibatch / seconds:,.0f} | {apart} | {100 * moved:.2f} %"
            f" | {100 * (waited + moved):.2f} % |",
        )


def sums(transport: Transport, store: FrameStore, spec: NetworkSpec, minibatch: int, rounds: int) -> None:
    """Means of a network's parameters. MB: of what a process gives to one, in that comm_dtype's numbers."""
    cpu, weights = torch.device("cpu"), np.ones(2)
    parameters = StackedNetwork(spec, 1, cpu, torch.float32).initialise(1).parameters
    around = torch.zeros_like(parameters[0])
    show(transport, f"{parameters.numel():,} parameters\n")
    show(transport, "| comm_dtype | MB | all_reduce MB/s | mean MB/s | of all_reduce | means/s |")
    show(transport, "|---|--:|--:|--:|--:|--:|")
    for comm_dtype in COMM_DTYPES:
        mean = WeightedMean(WorkerGroup(2, transport), comm_dtype, parameters)
        kind = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}[comm_dtype]
        buffer = torch.ones(parameters.numel(), dtype=kind)

        def bare(buffer: Tensor = buffer, count: int = 8) -> float:
            buffer.fill_(0)
            began = time.perf_counter()
            for _ in range(count):
                dist.all_reduce(buffer)
            return (time.perf_counter() - began) / count

        def ours(mean: WeightedMean = mean, count: int = 8) -> float:
            began = time.perf_counter()
            for _ in range(count):
                mean.of(parameters, weights, around)
            return (time.perf_counter() - began) / count

        together(transport, bare), together(transport, ours)
        before = mean.bytes_per_worker
        both = [(together(transport, bare), together(transport, ours)) for _ in range(4 * rounds)]
        given = (mean.bytes_per_worker - before) / (8 * 4 * rounds)
        size = buffer.numel() * buffer.element_size()
        alone, own = (statistics.median(times) for times in zip(*both, strict=True))
        ratio = statistics.median((given / b) / (size / a) for a, b in both)
        show(
            transport,
            f"| {comm_dtype} | {given / 1e6:.2f} | {size / alone / 1e6:,.0f} | {given / own / 1e6:,.0f} | {ratio:.2f}"
            f" | {1 / own:.1f} |",
        )


def bytes_sent(transport: Transport, store: FrameStore, spec: NetworkSpec, minibatch: int, rounds: int) -> None:
    """Megabytes a million frames of a worker's own. A ring of P sends 2 (P - 1) / P times what is given: of 2, once."""
    precision = choose_dtype("auto", torch.device("cpu"))
    count = 48
    show(transport, "| algorithm | period | comm_dtype | formula | counted | of formula | on loopback | of formula |")
    show(transport, "|---|--:|---|--:|--:|--:|--:|--:|")
    rows = [(kind, 16, "float32") for kind in ("average", "block-momentum", "elastic")]
    rows += [("average", 1, "float32"), ("average", 16, "float16"), ("average", 16, "int8")]
    rows += [(kind, None, "float32") for kind in ("colearn", "gradient, sgd", "gradient", "none")]
    for name, period, comm_dtype in rows:
        kind, _, optimiser = name.partition(", ")
        threshold = 0.0 if kind == "colearn" else None
        options = split(workers=2, algorithm=kind, period=period, comm_dtype=comm_dtype, colearn_threshold=threshold)
        training = Training(
            spec, store, minibatch, precision, WorkerGroup(2, transport), *options, optimiser or "ng-sgd"
        )
        training.steps(WARM_UP)
        transport.barrier()
        sent, counted = int(SENT.read_text()), training.rounds.synchronizer.bytes_per_worker
        transport.barrier()
        training.steps(count)
        transport.barrier()
        sent, counted = int(SENT.read_text()) - sent, training.rounds.synchronizer.bytes_per_worker - counted
        scale = 1 / (count * minibatch)  # bytes a frame are megabytes a million frames
        expected = formula(training, spec, kind, optimiser or "ng-sgd", period or 16, comm_dtype) / minibatch
        ring = [counted * scale, sent / 2 * scale]  # 2 (P - 1) / P = 1; both processes of the device
        of = [f"{value / expected:.3f}" if expected else "-" for value in ring]
        show(
            transport,
            f"| {name} | {'-' if kind == 'none' else period or (1 if kind == 'gradient' else '16 = an epoch')}"
            f" | {comm_dtype}"
            f" | {expected:,.1f} | {ring[0]:,.1f} | {of[0]} | {ring[1]:,.1f} | {of[1]} |",
        )


def formula(training: Training, spec: NetworkSpec, kind: str, optimiser: str, period: int, comm_dtype: str) -> float:
    """Bytes a minibatch that a worker gives to sums."""
    parameters = training.network.parameters.shape[1]
    if kind == "none":
        return 0.0
    if kind == "gradient":  # the gradient, and now and then what moves the Fisher estimates
        places = layout(spec)
        ranks = [(min(RANK_IN, (place.into + 2) // 2), place.into + 1) for place in places]
        ranks += [(min(RANK_OUT, (place.out + 1) // 2), place.out) for place in places]
        estimates = sum(rank * dim for rank, dim in ranks) / UPDATE_PERIOD if optimiser == "ng-sgd" else 0
        return 4.0 * (parameters + estimates)
    each = {"float32": 4.0, "float16": 2 + 4 / BLOCK, "int8": 1 + 4 / BLOCK}[comm_dtype]  # a float32 scale to a block
    return each * parameters / period


def show(transport: Transport, line: str) -> None:
    if transport.rank == 0:
        print(line, flush=True)


PARTS = {"speed": speed, "share": share, "sums": sums, "bytes": bytes_sent}


def work(rank: int, folder: Path, args: argparse.Namespace) -> None:
    """One of the two processes."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "ASR_PARALLEL_LAUNCH": str(folder)}
    transport = join(folder / "meeting", "cpu", None, 600.0)
    spec, minibatch = (SMALL, 64) if args.small else (LARGE, 512)
    try:
        for name in args.what or PARTS:
            show(transport, f"\n{name}: {PARTS[name].__doc__}\n")
            PARTS[name](transport, FrameStore.open(folder / "store"), spec, minibatch, args.rounds)
    finally:
        transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=[*PARTS, []], metavar="PART", nargs="*", help=f"of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="try it at 440-512x3-157, minibatches of 64")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("needs two cores")
    with tempfile.TemporaryDirectory() as folder:
        spec = SMALL if args.small else LARGE
        make_store(Path(folder) / "store", 200_000, spec.num_pdfs)
        print(f"load before: {os.getloadavg()[0]:.2f}", flush=True)
        torch.multiprocessing.spawn(work, (Path(folder), args), 2)


if __name__ == "__main__":
    main()
