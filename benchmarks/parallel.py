"""The cost of training in two processes, with one thread and core each.

    python benchmarks/parallel.py [speed] [share] [sums] [bytes]

speed   both against one of them alone, at 440-1024x4-2000, natural gradient, minibatches of 512, averages every 16
share   synchronization's part of the wall time, by algorithm and period
sums    a mean of models against dist.all_reduce of as many bytes, in every comm_dtype
bytes   sent by a worker, as counted and as the loopback device counted them, against the formula

Contestants take turns; the result is the median of the ratios within a turn.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from common import (
    CPU,
    LARGE,
    PRECISIONS,
    SMALL,
    WARM_UP,
    TrainingLoop,
    arguments,
    make_store,
    run_processes,
    show,
    show_header,
    slowest,
)
from torch import Tensor

from asr_parallel.clock.modelled_clock import COMM_BYTES
from asr_parallel.clock.step_time import gradient_sums
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_dtype
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.comm_dtypes import COMM_DTYPES
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.weighted_mean import WeightedMean
from asr_parallel.parallel.worker_group import WorkerGroup

SENT = Path("/sys/class/net/lo/statistics/tx_bytes")


class Benchmark:
    """The setting of all parts: a network, minibatches from a store, so many rounds, in this process of two."""

    def __init__(self, transport: Transport, folder: Path, small: bool, rounds: int) -> None:
        self.transport, self.rounds = transport, rounds
        self.store = FrameStore.open(folder)
        self.spec, self.minibatch = network(small)

    def loop(self, precision: torch.dtype | None = None, alone: bool = False, **options: Any) -> TrainingLoop:
        """Return a training of two workers, or one of a worker alone in each process; it is warm."""
        group = WorkerGroup(1, SingleProcess()) if alone else WorkerGroup(2, self.transport)
        precision = precision or choose_dtype("auto", CPU)
        loop = TrainingLoop(self.spec, self.store, self.minibatch, precision, group, epoch=16, **options)
        self.slowest(partial(loop.steps, WARM_UP))
        return loop

    def slowest(self, work: Callable[[], float]) -> float:
        return slowest(self.transport, work)

    def row(self, *columns: str) -> None:
        show(self.transport, f"| {' | '.join(columns)} |")

    def speed(self) -> None:
        """Two processes against one, and against two that do not communicate, which shows the machine's own limit."""
        count = 48
        head = ["precision", "one process", "two apart", "x one", "two, averages every 16", "x one"]
        show_header(self.transport, *head)
        for name, precision in PRECISIONS.items():
            loops = {kind: self.loop(precision, algorithm=kind) for kind in ("none", "average")}
            one = self.loop(precision, alone=True)
            found: dict[str, list[float]] = {"one": [], "none": [], "average": []}
            for _ in range(self.rounds):
                seconds = self.slowest(partial(one.steps, count if self.transport.rank == 0 else 0))
                found["one"].append(count * self.minibatch / seconds)
                for kind, loop in loops.items():
                    seconds = self.slowest(partial(loop.steps, count))
                    found[kind].append(2 * count * self.minibatch / seconds)
            medians = {kind: statistics.median(values) for kind, values in found.items()}
            ratios = {k: [both / one for one, both in zip(found["one"], found[k], strict=True)] for k in loops}
            apart, average = ratios["none"], ratios["average"]
            self.row(
                name, f"{medians['one']:,.0f}", f"{medians['none']:,.0f}", f"{statistics.median(apart):.2f}",
                f"{medians['average']:,.0f}",
                f"**{statistics.median(average):.2f}** ({min(average):.2f} to {max(average):.2f})",
            )  # fmt: skip

    def share(self) -> None:
        """Time waiting for the other process, and time of means and of the algorithm's own work (gradient: both)."""
        show_header(self.transport, "algorithm", "period", "overlap", "frames/s", "waited", "moved", "both")
        rows: list[tuple[str, int | None, bool]] = [("none", None, False)]
        rows += [
            (name, period, overlap)
            for name in ("average", "block-momentum", "elastic")
            for period in (1, 16, 256)
            for overlap in (False, True)
        ]
        rows += [("gradient, sgd", None, False), ("gradient", None, False)]
        for name, period, overlap in rows:
            kind, _, optimiser = name.partition(", ")
            loop = self.loop(algorithm=kind, period=period, overlap=overlap, optimiser=optimiser or "ng-sgd")
            if period == 256:  # so that the synchronization lies in the middle of what is measured
                loop.steps(period // 2 - WARM_UP)
            scheduler, count = loop.scheduler, max(48, period or 0)
            waited, moved = scheduler.waited_seconds, scheduler.moved_seconds + loop.sum_seconds
            seconds = self.slowest(partial(loop.steps, count))
            spent = [scheduler.waited_seconds - waited, scheduler.moved_seconds + loop.sum_seconds - moved]
            of_ranks = zip(*self.transport.all_gather_object(spent), strict=True)
            waited, moved = (statistics.mean(values) / seconds for values in of_ranks)
            sums = loop.algorithm.sum_gradients is not None
            self.row(
                name, str(period or (1 if sums else "-")), "yes" if overlap else "no",
                f"{2 * count * self.minibatch / seconds:,.0f}", "in sums" if sums else f"{100 * waited:.2f} %",
                f"{100 * moved:.2f} %", f"{100 * (waited + moved):.2f} %",
            )  # fmt: skip

    def sums(self) -> None:
        """Means of a network's parameters. MB: what a process sends for one, in that comm_dtype's numbers."""
        weights, count = np.ones(2), 8
        parameters = StackedNetwork(self.spec, 1, CPU, torch.float32).initialise(1).parameters
        anchor = torch.zeros_like(parameters[0])
        show(self.transport, f"{parameters.numel():,} parameters\n")
        show_header(self.transport, "comm_dtype", "MB", "all_reduce MB/s", "mean MB/s", "of all_reduce", "means/s")
        for comm_dtype in COMM_DTYPES:
            mean = WeightedMean(WorkerGroup(2, self.transport), comm_dtype, parameters)
            kind = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}[comm_dtype]
            buffer = torch.zeros(parameters.numel(), dtype=kind)

            def bare(buffer: Tensor = buffer) -> float:
                began = time.perf_counter()
                for _ in range(count):
                    dist.all_reduce(buffer)
                return (time.perf_counter() - began) / count

            def weighted(mean: WeightedMean = mean) -> float:
                began = time.perf_counter()
                for _ in range(count):
                    mean.of(parameters, weights, anchor)
                return (time.perf_counter() - began) / count

            self.slowest(bare), self.slowest(weighted)
            before = mean.bytes_per_worker
            both = [(self.slowest(bare), self.slowest(weighted)) for _ in range(4 * self.rounds)]
            sent = (mean.bytes_per_worker - before) / (count * 4 * self.rounds)
            size = buffer.numel() * buffer.element_size()
            alone, own = (statistics.median(times) for times in zip(*both, strict=True))
            ratio = statistics.median((sent / b) / (size / a) for a, b in both)
            self.row(
                comm_dtype, f"{sent / 1e6:.2f}", f"{size / alone / 1e6:,.0f}", f"{sent / own / 1e6:,.0f}",
                f"{ratio:.2f}", f"{1 / own:.1f}",
            )  # fmt: skip

    def bytes(self) -> None:
        """Megabytes per million frames of a worker. A ring of P sends 2 (P - 1) / P times the messages: of 2, once."""
        count = 48
        head = ["algorithm", "period", "comm_dtype", "formula", "counted", "of formula", "on loopback", "of formula"]
        show_header(self.transport, *head)
        rows: list[tuple[str, int | None, str]] = [(kind, 16, "float32") for kind in ("average", "block-momentum")]
        rows += [("elastic", 16, "float32"), ("average", 1, "float32")]
        rows += [("average", 16, "float16"), ("average", 16, "int8")]
        rows += [(kind, None, "float32") for kind in ("colearn", "gradient, sgd", "gradient", "none")]
        for name, period, comm_dtype in rows:
            kind, _, optimiser = name.partition(", ")
            options: dict[str, Any] = {"colearn_threshold": 0.0} if kind == "colearn" else {}
            loop = self.loop(
                algorithm=kind, period=period, comm_dtype=comm_dtype, optimiser=optimiser or "ng-sgd", **options
            )
            self.transport.barrier()
            sent, counted = int(SENT.read_text()), loop.scheduler.synchronizer.bytes_per_worker
            self.transport.barrier()
            loop.steps(count)
            self.transport.barrier()
            sent, counted = int(SENT.read_text()) - sent, loop.scheduler.synchronizer.bytes_per_worker - counted
            scale = 1 / (count * self.minibatch)  # bytes per frame are megabytes per million frames
            expected = message_bytes(loop, self.spec, comm_dtype) / self.minibatch
            found = [counted * scale, sent / 2 * scale]  # both processes send on the same device
            columns = [f"{one:,.1f} | {f'{one / expected:.3f}' if expected else '-'}" for one in found]
            shown = "1" if loop.algorithm.sum_gradients else "16 = an epoch" if expected else "-"
            self.row(name, str(period or shown), comm_dtype, f"{expected:,.1f}", *columns)


def network(small: bool) -> tuple[NetworkSpec, int]:
    """Return the network and its minibatch."""
    return (SMALL, 64) if small else (LARGE, 512)


def message_bytes(loop: TrainingLoop, spec: NetworkSpec, comm_dtype: str) -> float:
    """Return the bytes of a worker's messages per minibatch."""
    if loop.algorithm.sum_gradients is not None:
        return sum(one.bytes * one.times for one in gradient_sums(spec, loop.optimiser))
    if not loop.scheduler.synchronizes or loop.algorithm.period is None:
        return 0.0
    return sum(COMM_BYTES[comm_dtype]) * spec.num_parameters / loop.algorithm.period


PARTS = ("speed", "share", "sums", "bytes")


def work(transport: Transport, folder: Path, parts: list[str], small: bool, rounds: int) -> None:
    benchmark = Benchmark(transport, folder, small, rounds)
    for name in parts or PARTS:
        part = getattr(benchmark, name)
        show(transport, f"\n{name}: {part.__doc__}\n")
        part()


def main() -> None:
    parser = arguments(__doc__, PARTS, rounds=7)
    parser.add_argument("--small", action="store_true", help="440-512x3-157, minibatches of 64")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), 200_000, network(args.small)[0].num_pdfs)
        run_processes(2, work, Path(folder), args.parts, args.small, args.rounds)


if __name__ == "__main__":
    main()
