"""The modelled clock against real time: two processes, a thread and a core each, and the model's prediction for them.

    python benchmarks/clock.py [small] [large] [--rounds 3] [--only elastic]

small    440-512x3-157, minibatches of 256
large    440-1024x4-2000, minibatches of 512

The model's inputs are measured in the same run: seconds of a minibatch of one worker with its reading, while the other
core does the same, before every contestant; seconds of a worker alone in a synchronization; alpha and beta of gloo on
loopback, fitted to sums of 64 bytes to 16 MB. Contestants take turns; the result is the median ratio. bf16 where it is
fast.
"""

import statistics
import tempfile
import time
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    CPU,
    LARGE,
    SMALL,
    WARM_UP,
    TrainingLoop,
    arguments,
    endless,
    make_store,
    minibatches,
    run_processes,
    show,
    show_header,
    slowest,
)

from asr_parallel.clock.interconnect import Interconnect
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.step_time import BLOCKS, StepTime, measure_step, measure_sync, work_of
from asr_parallel.clock.stragglers import Stragglers
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_dtype
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.parallel.ecdnn.ensemble import EXCHANGES
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup

SIZES = {"small": (SMALL, 256, 6), "large": (LARGE, 512, 1)}  # network, minibatch, factor on the number of minibatches
ROWS = 100_000
MESSAGES = [1 << k for k in range(6, 26, 2)]  # bytes


def fit_loopback(transport: Transport) -> tuple[Interconnect, float]:
    """Fit seconds = 2 alpha + bytes / beta to sums of two processes, and return it with the largest relative error."""
    found = []
    for size in MESSAGES:
        tensor, count = torch.zeros(size // 4), 16 if size < 1 << 20 else 4

        def sums(tensor: torch.Tensor = tensor, count: int = count) -> float:
            began = time.perf_counter()
            for _ in range(count):
                transport.all_reduce(tensor)
            return (time.perf_counter() - began) / count

        sums()
        found.append(statistics.median(slowest(transport, sums) for _ in range(5)))
    weights = 1 / np.array(found)  # relative errors count alike
    design = np.stack([np.full(len(MESSAGES), 2.0), np.array(MESSAGES, dtype=float)], axis=1)
    (alpha, inverse), *_ = np.linalg.lstsq(design * weights[:, None], np.ones(len(found)), rcond=None)
    error = float(np.abs(design @ [alpha, inverse] * weights - 1).max())
    alpha, beta = transport.broadcast_object([max(0.0, float(alpha)), 1 / float(inverse)])
    return Interconnect("loopback", alpha, beta, "fitted in this run"), error


@dataclass
class Row:
    """One training: the minibatches that are timed, seconds of a synchronization, and (modelled, measured) seconds."""

    name: str
    loop: TrainingLoop
    count: int
    sync_seconds: float = 0.0
    seconds: list[tuple[float, float]] = field(default_factory=list)


def make_rows(
    spec: NetworkSpec, store: FrameStore, minibatch: int, factor: int, transport: Transport, only: str | None
) -> list[Row]:
    """Return the trainings, those named `only` if it is given."""
    group, dtype, rows = WorkerGroup(2, transport), choose_dtype("auto", CPU), []
    epoch = ROWS // 2 // minibatch
    round_minibatches = epoch // 4
    trainings: list[tuple[str, str, dict[str, Any]]] = [
        ("average", "ng-sgd", {"period": 1}),
        ("average", "ng-sgd", {"period": 16}),
        ("elastic", "ng-sgd", {"period": 1}),
        ("elastic", "ng-sgd", {"period": 16}),
        ("block-momentum", "ng-sgd", {"period": 16}),
        ("gradient", "ng-sgd", {}),
        ("gradient", "sgd", {}),
    ]
    options = {"period": round_minibatches, "compress_minibatches": epoch // 10}
    trainings += [(f"ensemble, {exchange}", "ng-sgd", options | {"exchange": exchange}) for exchange in EXCHANGES]
    for name, optimiser, options in trainings:
        if only in (None, name):
            algorithm = name.partition(",")[0]
            loop = TrainingLoop(spec, store, minibatch, dtype, group, optimiser, algorithm=algorithm, **options)
            count = 32 * factor
            if loop.hook is not None:  # the timed part begins with a round's labels
                loop.steps(round_minibatches - WARM_UP % round_minibatches)
                count = 2 * factor * round_minibatches
            rows.append(Row(name, loop, count))
    return rows


def modelled(row: Row, spec: NetworkSpec, minibatch: int, step: StepTime, network: Interconnect) -> float:
    """Return the modelled seconds of the row's minibatches."""
    epoch, loop = ROWS // 2 // minibatch, row.loop
    work = work_of(spec, minibatch, loop.optimiser, step, row.sync_seconds)
    stragglers = Stragglers(step.jitter)
    frames = epoch * 2 * minibatch
    clock = ModelledClock(loop.options, work, network, frames, stragglers, "ring", constants=loop.constants)
    return clock.epoch().total * row.count / epoch


def compare(transport: Transport, store: FrameStore, name: str, rounds: int, only: str | None) -> None:
    spec, minibatch, factor = SIZES[name]
    network, error = fit_loopback(transport)
    constants = f"alpha {1e6 * network.alpha:.0f} us, beta {network.beta / 1e9:.2f} GB/s"
    show(transport, f"\n{name}: {constants} (off by {100 * error:.0f} % at most)\n")
    rows = make_rows(spec, store, minibatch, factor, transport, only)
    data = endless(minibatches(store, 2, [transport.rank], minibatch, choose_dtype("auto", CPU)))
    for row in rows:
        row.loop.steps(WARM_UP)
        if row.loop.algorithm.exchanges_models and row.loop.algorithm.uses_means:
            transport.barrier()
            own = measure_sync(spec, row.loop.options, minibatch, row.loop.optimiser, "auto", "cpu")
            row.sync_seconds = statistics.mean(transport.all_gather_object(own))
    steps: dict[str, list[StepTime]] = {row.loop.optimiser: [] for row in rows}
    for _ in range(rounds):
        for row in rows:
            transport.barrier()
            times = measure_step(spec, minibatch, row.loop.optimiser, "auto", "cpu", blocks=factor * BLOCKS, data=data)
            both = transport.all_gather_object(list(astuple(times)))
            step = StepTime(*(statistics.mean(of_two) for of_two in zip(*both, strict=True)))
            steps[row.loop.optimiser].append(step)
            seconds = slowest(transport, partial(row.loop.steps, row.count))
            row.seconds.append((modelled(row, spec, minibatch, step, network), seconds))
    for optimiser, measured in steps.items():
        one, jitter, label = (
            statistics.median(getattr(step, part) for step in measured)
            for part in ("seconds", "jitter", "label_seconds")
        )
        times_ms = f"{1e3 * one:.2f} ms a minibatch, jitter {100 * jitter:.1f} %, labels {1e3 * label:.2f} ms"
        show(transport, f"{optimiser}: {times_ms}")
    show(transport, "")
    show_header(transport, "algorithm", "period", "optimiser", "modelled s", "measured s", "modelled / measured")
    for row in rows:
        ratios = [model / real for model, real in row.seconds]
        model, real = (statistics.median(values) for values in zip(*row.seconds, strict=True))
        show(
            transport,
            f"| {row.name} | {row.loop.algorithm.period or 1} | {row.loop.optimiser} | {model:.2f} | {real:.2f}"
            f" | **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |",
        )


def work(transport: Transport, folder: Path, sizes: list[str], rounds: int, only: str | None) -> None:
    for name in sizes:
        compare(transport, FrameStore.open(folder / name), name, rounds, only)


def main() -> None:
    parser = arguments(__doc__, SIZES, rounds=3)
    parser.add_argument("--only", metavar="NAME", help="a name from the table's first column")
    args = parser.parse_args()
    sizes = args.parts or list(SIZES)
    with tempfile.TemporaryDirectory() as folder:
        for name in sizes:
            make_store(Path(folder) / name, ROWS, SIZES[name][0].num_pdfs)
        run_processes(2, work, Path(folder), sizes, args.rounds, args.only)


if __name__ == "__main__":
    main()
