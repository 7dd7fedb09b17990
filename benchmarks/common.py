"""Parts that the benchmarks share: networks, a frame store of noise, a training loop, turns, processes, tables."""

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import CONTEXT, FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import split
from asr_parallel.record.files import write_json
from asr_parallel.training.minibatches import Minibatches

DEFAULT = dnn(40, CONTEXT, 3, 256, 656, "relu-renorm")  # of the recipe's comparison
SMALL = dnn(40, CONTEXT, 3, 512, 157, "relu")
LARGE = dnn(40, CONTEXT, 4, 1024, 2000, "relu")
RATE = 1e-6  # small, because the data are noise
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
CPU = torch.device("cpu")
WARM_UP = 16  # minibatches: the preconditioners' first ones are slower; it has one synchronization at the usual period

Steps = Callable[[int], int]
"""Takes so many steps and returns the frames they had."""


def arguments(doc: str | None, parts: Iterable[str], rounds: int) -> argparse.ArgumentParser:
    """Return a parser for the parts to be run and the number of rounds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", choices=[*parts, []], metavar="PART", nargs="*", help=f"{', '.join(parts)}")
    parser.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    parser.add_argument("--figures", type=Path, help="file that figures are appended to, for benchmarks/compare.py")
    return parser


def make_store(folder: Path, rows: int, num_pdfs: int) -> FrameStore:
    """Write a frame store of noise in utterances of 500 frames."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    utterances, stride = rows // 500, 500 + 2 * CONTEXT
    shape = (utterances * stride, 40)
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.float16, shape=shape)
    labels = np.full(utterances * stride, -1, dtype=np.int16)
    for start in range(0, utterances * stride, stride):
        block = random.standard_normal((500, 40), dtype=np.float32)
        frames[start : start + stride] = np.pad(block, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
        labels[start + CONTEXT : start + stride - CONTEXT] = random.integers(0, num_pdfs, 500)
    frames.flush()
    np.save(folder / "labels.npy", labels)
    ids = [f"u{u}" for u in range(utterances)]
    index = {
        "context": CONTEXT,
        "num_pdfs": num_pdfs,
        "normalisation": {"kind": "fbank", "norm_vars": False, "scale": [1.0] * 40},
        "ids": ids,
        "speakers": ids,
        "sources": ids,
        "frames": [500] * utterances,
        "feature_config": {"kind": "fbank", "dim": 40},
    }
    write_json(folder / "index.json", index)
    return FrameStore.open(folder)


def shares(store: FrameStore, count: int) -> list[np.ndarray]:
    """Return equal parts of the store's frames."""
    return np.array_split(store.rows_of(np.arange(len(store.ids))), count)


def minibatches(
    store: FrameStore, num_workers: int, workers: Iterable[int], size: int, dtype: torch.dtype, device: str = "cpu"
) -> Minibatches:
    """Return the minibatches of some of the workers."""
    parts, workers = shares(store, num_workers), list(workers)
    own = [parts[worker] for worker in workers]
    frames = [len(part) for part in parts]
    return Minibatches(store, own, workers, size, 0, None, dtype, torch.device(device), frames=frames)


def endless(batches: Minibatches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the minibatches of epoch after epoch."""
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


class TrainingLoop:
    """A process's part in a training of several workers on noise, without evaluation or checkpoints."""

    def __init__(
        self,
        spec: NetworkSpec,
        store: FrameStore,
        minibatch: int,
        precision: torch.dtype,
        group: WorkerGroup,
        optimiser: str = "ng-sgd",
        epoch: int | None = None,
        **options: Any,
    ) -> None:
        """Build network, optimiser and algorithm.

        Args:
            epoch: minibatches, for algorithms that count in epochs; None: of the store.
            options: of workers and of their algorithm.
        """
        self.options, self.constants = split(workers=group.num_workers, **options)
        own, chosen = group.local_workers, entry(self.options.algorithm)
        if "drop_worse" in chosen.cls.supports:
            self.options = replace(self.options, drop_worse=1e9)  # nobody is left out
        self.group, self.minibatch, self.optimiser = group, minibatch, optimiser
        self.algorithm: Any = chosen.cls(self.constants)
        self.network = StackedNetwork(spec, len(own), CPU, precision).initialise(1)
        self.sum_seconds = 0.0
        sum_gradients = self._timed(self.algorithm.sum_gradients) if self.algorithm.sum_gradients else None
        self.optimizer = optimizer(optimiser, self.network, MaxChange(), 0.9, sum_gradients)
        batches = minibatches(store, group.num_workers, own, minibatch, precision)
        epoch = epoch or batches.minibatches_per_epoch
        self.scheduler = SyncScheduler(
            self.algorithm, group, self.network, self.options, self.optimizer, minibatches_per_epoch=epoch, epochs=1000
        )
        self.hook: Any = self.algorithm.training_hook(
            network=self.network,
            batches=batches,
            all_frames=lambda: minibatches(store, 1, [0], minibatch, precision),
            outputs=Outputs(),
            weight=1.0,
        )
        self._data: Iterator[tuple] = endless(batches)
        if self.hook is not None:
            self._data = (one for epoch in range(1000) for one in self.hook.stream(epoch, 0))
        self._done = 0

    def _timed(self, sum_gradients: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        def timed(tensor: Tensor) -> None:
            began = time.perf_counter()
            sum_gradients(tensor)
            self.sum_seconds += time.perf_counter() - began

        return timed

    def steps(self, count: int) -> float:
        """Train on so many minibatches. Return the seconds it took."""
        frames = np.full(self.group.num_workers, self.minibatch)
        began = time.perf_counter()
        for _ in range(count):
            result = self.network.backward(*next(self._data))
            self.optimizer.step(result, RATE, None, int(frames.sum()))
            self._done += 1
            synchronized = self.scheduler.after_batch(self.network, frames, result.loss_sum, RATE)
            if self.hook is not None and synchronized:
                self.hook.after_sync(self._done)
        return time.perf_counter() - began


def take_turns(
    contestants: dict[str, Steps],
    rounds: int,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
    warm_up: int = WARM_UP,
) -> dict[str, float]:
    """Return the median frames/s of each; in a round each runs once, for about so many seconds."""

    def run(steps: Steps, count: int) -> float:
        began = clock()
        frames = steps(count)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return frames / (clock() - began)

    counts = {}
    for name, steps in contestants.items():
        frames = steps(warm_up) / warm_up
        counts[name] = max(4, round(run(steps, 4) / frames * seconds / 4) * 4)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            speeds[name].append(run(steps, counts[name]))
    return {name: statistics.median(values) for name, values in speeds.items()}


def one_by_one(contestants: list[Steps]) -> Steps:
    """Return the steps of several, one after the other."""
    return lambda count: sum(steps(count) for steps in contestants)


def resident(field: str) -> int:
    """Return the bytes of a field of /proc/self/status: VmHWM is the peak, RssFile the part of mapped files."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}")
    return 1024 * int(found[1])


def reset_peak() -> None:
    """Let VmHWM begin again from the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def run_processes(count: int, function: Callable[..., None], *args: Any) -> None:
    """Call function(transport, *args) in so many processes, each with a core and a thread of its own."""
    if len(os.sched_getaffinity(0)) < count:
        raise SystemExit(f"needs {count} cores")
    print(f"load before: {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (count, Path(folder), function, args), count)


def _process(rank: int, count: int, folder: Path, function: Callable[..., None], args: tuple) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    if count == 1:
        function(SingleProcess(), *args)
        return
    ranks = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    os.environ |= {**ranks, "ASR_PARALLEL_LAUNCH": str(folder)}
    transport = join(folder / "rendezvous", "cpu", None, 600.0)
    try:
        function(transport, *args)
    finally:
        transport.close()


def slowest(transport: Transport, work: Callable[[], float]) -> float:
    """Return the seconds of the slowest process, when all begin at the same time."""
    transport.barrier()
    return max(transport.all_gather_object(work()))


def show(transport: Transport, line: str) -> None:
    """Print a line in the first process."""
    if transport.rank == 0:
        print(line, flush=True)


def show_header(transport: Transport, *columns: str) -> None:
    """Print the head of a table in the first process."""
    show(transport, f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
