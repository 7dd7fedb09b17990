"""The modelled clock against real time: two processes, a thread and a core each, and what the model says of them.

    python benchmarks/clock.py [small] [large] [--rounds 3] [--only elastic]

small    440-512x3-157, minibatches of 256
large    440-1024x4-2000, minibatches of 512

What the model is given is measured in the same run: seconds of a minibatch of one worker with its reading, while the
other core does the same, before every contestant anew; of a worker in a meeting with itself; alpha and beta of gloo on
loopback, fitted to sums of 64 bytes to 16 MB. Contestants take turns; what counts is the median ratio. bf16 where it is
fast.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parallel import WARM_UP, Training, show, together
from torch import Tensor
from training import LARGE, RATE, SMALL, forever, make_store, shares

from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.step_time import BLOCKS, StepTime, measure_step, measure_sync, work_of
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.precision import choose_dtype
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import Soft
from asr_parallel.parallel.ecdnn.ensemble import EXCHANGES
from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions, split
from asr_parallel.training.minibatches import Minibatches

SIZES = {"small": (SMALL, 256, 6), "large": (LARGE, 512, 1)}  # network, minibatch, how many times as many of them
ROWS = 100_000
MESSAGES = [1 << k for k in range(6, 26, 2)]  # bytes
CPU = torch.device("cpu")


class InRounds(Training):
    """A process's part in an ensemble of two."""

    def __init__(
        self,
        spec: NetworkSpec,
        store: FrameStore,
        minibatch: int,
        group: WorkerGroup,
        options: WorkerOptions,
        constants: Any,
    ) -> None:
        own, dtype = list(group.local_workers), choose_dtype("auto", CPU)
        parts = shares(store, group.num_workers)
        mine, of_all = [parts[k] for k in own], [len(part) for part in parts]
        batches = Minibatches(store, mine, own, minibatch, 0, None, dtype, CPU, frames=of_all)
        super().__init__(spec, store, minibatch, dtype, group, options, constants, epoch=batches.minibatches_per_epoch)

        def all_frames() -> Minibatches:
            everybody = [np.sort(np.concatenate(parts))]
            return Minibatches(store, everybody, [group.num_workers], minibatch, 0, None, dtype, CPU)

        self.compression = self.algorithm.training_hook(
            network=self.network, batches=batches, all_frames=all_frames, outputs=Outputs(), weight=1.0
        )
        self._stream, self._done = self._forever(), 0

    def _forever(self) -> Iterator[tuple[Tensor, Tensor, Soft | None]]:
        for epoch in range(1000):
            yield from self.compression.stream(epoch, 0)

    def steps(self, count: int) -> float:
        frames = np.full(self.group.num_workers, self.minibatch)
        began = time.perf_counter()
        for _ in range(count):
            minibatch = self.network.backward(*next(self._stream))
            self.optimizer.step(minibatch, RATE, None, int(frames.sum()))
            self._done += 1
            if self.rounds.after_batch(self.network, frames, minibatch.loss_sum, RATE):
                self.compression.after_sync(self._done)
        return time.perf_counter() - began


def loopback(transport: Transport) -> tuple[Interconnect, float]:
    """Fitted to what sums of two processes take, seconds = 2 alpha + bytes / beta, relative errors weighing alike; and
    the greatest of them.
    """
    found = []
    for size in MESSAGES:
        tensor, count = torch.zeros(size // 4), 16 if size < 1 << 20 else 4

        def sums(tensor: Tensor = tensor, count: int = count) -> float:
            began = time.perf_counter()
            for _ in range(count):
                transport.all_reduce(tensor)
            return (time.perf_counter() - began) / count

        sums()
        found.append(statistics.median(together(transport, sums) for _ in range(5)))
    weights = 1 / np.array(found)
    design = np.stack([np.full(len(MESSAGES), 2.0), np.array(MESSAGES, dtype=float)], axis=1)
    (alpha, inverse), *_ = np.linalg.lstsq(design * weights[:, None], np.ones(len(found)), rcond=None)
    error = float(np.abs(design @ [alpha, inverse] * weights - 1).max())
    return Interconnect("loopback", max(0.0, float(alpha)), 1 / float(inverse), "fitted in this run"), error


@dataclass
class Row:
    """One training and what became of it. count: minibatches that are timed, whole periods of them."""

    name: str
    options: WorkerOptions
    constants: Any
    optimiser: str
    training: Training
    count: int
    meeting: float = 0.0


def rows_of(spec: NetworkSpec, store: FrameStore, minibatch: int, times: int, transport: Transport) -> list[Row]:
    group, dtype, rows = WorkerGroup(2, transport), choose_dtype("auto", CPU), []
    for name, period, optimiser, count in (
        ("average", 1, "ng-sgd", 32),
        ("average", 16, "ng-sgd", 32),
        ("elastic", 1, "ng-sgd", 32),
        ("elastic", 16, "ng-sgd", 32),
        ("block-momentum", 16, "ng-sgd", 32),
        ("gradient", None, "ng-sgd", 32),
        ("gradient", None, "sgd", 32),
    ):
        options, constants = split(workers=2, algorithm=name, period=period)
        training = Training(spec, store, minibatch, dtype, group, options, constants, optimiser)
        rows.append(Row(name, options, constants, optimiser, training, times * count))
    epoch = ROWS // 2 // minibatch
    for exchange in EXCHANGES:
        options, constants = split(
            workers=2, algorithm="ensemble", period=epoch // 4, compress_minibatches=epoch // 10, exchange=exchange
        )
        training = InRounds(spec, store, minibatch, group, options, constants)
        training.steps(epoch // 4 - WARM_UP % (epoch // 4))  # so that what is timed begins with a meeting's labels
        rows.append(Row(f"ensemble, {exchange}", options, constants, "ng-sgd", training, 2 * times * (epoch // 4)))
    return rows


def modelled(row: Row, spec: NetworkSpec, minibatch: int, step: StepTime, network: Interconnect) -> float:
    """TimeBreakdown of the row's minibatches."""
    epoch = ROWS // 2 // minibatch
    work = work_of(spec, minibatch, row.optimiser, step, row.meeting)
    clock = ModelledClock(
        row.options, work, network, epoch * 2 * minibatch, Stragglers(step.jitter), "ring", constants=row.constants
    )
    return clock.epoch().total * row.count / epoch


def size(transport: Transport, store: FrameStore, name: str, rounds: int, only: str | None) -> None:
    spec, minibatch, times = SIZES[name]
    network, error = loopback(transport)
    network = replace(network, **transport.broadcast_object({"alpha": network.alpha, "beta": network.beta}))
    show(
        transport,
        f"\n{name}: alpha {1e6 * network.alpha:.0f} us, beta {network.beta / 1e9:.2f} GB/s (off by {100 * error:.0f} %"
        " at most)\n",
    )
    rows = [row for row in rows_of(spec, store, minibatch, times, transport) if only in (None, row.name)]
    part, dtype = shares(store, 2)[transport.rank], choose_dtype("auto", CPU)
    data = forever(Minibatches(store, [part], [0], minibatch, 0, None, dtype, CPU))
    for row in rows:
        row.training.steps(WARM_UP)
        if row.name in ("average", "elastic", "block-momentum"):
            transport.barrier()
            own = measure_sync(spec, row.options, minibatch, row.optimiser, "auto", "cpu")
            row.meeting = statistics.mean(transport.all_gather_object(own))
    found: dict[int, list[tuple[float, float]]] = {n: [] for n in range(len(rows))}
    steps: dict[str, list[StepTime]] = {"ng-sgd": [], "sgd": []}
    for _ in range(rounds):
        for n, row in enumerate(rows):
            transport.barrier()
            own = measure_step(spec, minibatch, row.optimiser, "auto", "cpu", blocks=times * BLOCKS, data=data)
            both = transport.all_gather_object(list(astuple(own)))
            step = StepTime(*(statistics.mean(of_two) for of_two in zip(*both, strict=True)))
            steps[row.optimiser].append(step)
            seconds = together(transport, lambda row=row: row.training.steps(row.count))
            found[n].append((modelled(row, spec, minibatch, step, network), seconds))
    for optimiser, measured in steps.items():
        if not measured:
            continue
        step, jitter, label = (
            statistics.median(getattr(one, part) for one in measured) for part in ("seconds", "jitter", "label_seconds")
        )
        show(
            transport,
            f"{optimiser}: {1e3 * step:.2f} ms a minibatch, jitter {100 * jitter:.1f} %, labels {1e3 * label:.2f} ms",
        )
    show(transport, "\n| algorithm | period | optimiser | modelled s | measured s | modelled / measured |")
    show(transport, "|---|--:|---|--:|--:|--:|")
    for n, row in enumerate(rows):
        ratios = [model / real for model, real in found[n]]
        model, real = (statistics.median(of_all) for of_all in zip(*found[n], strict=True))
        show(
            transport,
            f"| {row.name} | {row.options.period or 1} | {row.optimiser} | {model:.2f} | {real:.2f}"
            f" | **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |",
        )


def work(rank: int, folder: Path, args: argparse.Namespace) -> None:
    """One of the two processes."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "ASR_PARALLEL_LAUNCH": str(folder)}
    transport = join(folder / "meeting", "cpu", None, 600.0)
    try:
        for name in args.what or SIZES:
            size(transport, FrameStore.open(folder / name), name, args.rounds, args.only)
    finally:
        transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*SIZES, []], metavar="SIZE", nargs="*", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--only", metavar="NAME", help="of the table's first column")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("needs two cores")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.what or SIZES:
            make_store(Path(folder) / name, ROWS, SIZES[name][0].num_pdfs)
        print(f"load before: {os.getloadavg()[0]:.2f}", flush=True)
        torch.multiprocessing.spawn(work, (Path(folder), args), 2)


if __name__ == "__main__":
    main()
