"""How fast the trainer's inner loop is, as ratios to a bare torch loop that takes turns with it in the same process.

    python benchmarks/training.py [small | large | stacked | memory | gpu] [--rounds 7] [--threads 1]

small     440-512x3-157, minibatch 256: every optimiser and precision, data read from a frame store, against a bare
          torch.nn.Sequential + torch.optim.SGD float32 loop over data in memory; all on one core
large     440-1024x4-2000, minibatch 512: natural gradient against plain SGD in the same precision
stacked   8 replicas of the small network at once against the 8 one after the other
memory    resident memory of a training on a frame store larger than it
gpu       440-2048x6-8882, minibatch 2048, data on the GPU: share of the card's bf16 matrix rate, and 8 small replicas

Each figure is the median over rounds; in every round each contestant runs once, for half a second or more.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr_parallel.features.frames import CONTEXT, FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.ng_sgd import RANK_IN, RANK_OUT
from asr_parallel.nnet.optimizer import MaxChange, Optimizer
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.spec import NetworkSpec, layout
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json
from asr_parallel.training.minibatches import Minibatches

SMALL = dnn(40, CONTEXT, 3, 512, 157, "relu")
LARGE = dnn(40, CONTEXT, 4, 1024, 2000, "relu")
HUGE = dnn(40, CONTEXT, 6, 2048, 8882, "relu")
RATE = 1e-6  # small: noise is not to be learnt, only to be computed with
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}

Steps = Callable[[int], int]
"""Takes so many steps and returns the frames they had."""


def make_store(folder: Path, rows: int, num_pdfs: int) -> FrameStore:
    """A frame store of noise, written in pieces."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    frames_each = 500
    utterances = rows // frames_each
    stride = frames_each + 2 * CONTEXT
    frames = np.lib.format.open_memmap(
        folder / "frames.npy", mode="w+", dtype=np.float16, shape=(utterances * stride, 40)
    )
    labels = np.full(utterances * stride, -1, dtype=np.int16)
    for u in range(utterances):
        block = random.standard_normal((frames_each, 40), dtype=np.float32)
        frames[u * stride : (u + 1) * stride] = np.pad(block, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
        labels[u * stride + CONTEXT : (u + 1) * stride - CONTEXT] = random.integers(0, num_pdfs, frames_each)
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
        "frames": [frames_each] * utterances,
        "feature_config": {"kind": "fbank", "dim": 40},
    }
    write_json(folder / "index.json", index)
    return FrameStore.open(folder)


def shares(store: FrameStore, count: int) -> list[np.ndarray]:
    rows = store.rows_of(np.arange(len(store.ids)))
    return [part for part in np.array_split(rows, count)]


def forever(batches: Minibatches) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def ours(
    spec: NetworkSpec,
    store: FrameStore,
    minibatch: int,
    name: str,
    dtype: torch.dtype,
    workers: list[int],
    device: str = "cpu",
    in_memory: bool = False,
) -> Steps:
    """Training steps of our loop, its data read from the store, or a few minibatches of it again and again."""
    network = StackedNetwork(spec, len(workers), device, dtype).initialise(1)
    optimiser: Optimizer = optimizer(name, network, MaxChange(), 0.9)
    parts = shares(store, max(workers) + 1)
    own = [parts[worker] for worker in workers]
    data = forever(Minibatches(store, own, workers, minibatch, 0, None, dtype, torch.device(device)))
    if in_memory:
        data = itertools.cycle([next(data) for _ in range(40)])

    def steps(count: int) -> int:
        for _ in range(count):
            spliced, labels = next(data)
            optimiser.step(network.backward(spliced, labels), RATE)
        return count * minibatch * len(workers)

    return steps


def bare(spec: NetworkSpec, store: FrameStore, minibatch: int) -> Steps:
    """torch.nn.Sequential and torch.optim.SGD in float32, spliced data in memory."""
    layers: list[nn.Module] = []
    sizes = [spec.input_dim] + [spec.hidden_dim] * spec.hidden_layers
    for k in range(spec.hidden_layers):
        layers += [nn.Linear(sizes[k], sizes[k + 1]), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(sizes[-1], spec.num_pdfs))
    sgd = torch.optim.SGD(net.parameters(), lr=RATE)
    rows = shares(store, 1)[0][: 40 * minibatch]
    x = torch.from_numpy(store.gather(rows)).float().split(minibatch)
    y = torch.from_numpy(store.labels[rows].astype(np.int64)).split(minibatch)
    position = 0

    def steps(count: int) -> int:
        nonlocal position
        for _ in range(count):
            sgd.zero_grad()
            loss = nn.functional.cross_entropy(net(x[position]), y[position], reduction="sum")
            loss.backward()
            sgd.step()
            position = (position + 1) % len(x)
        return count * minibatch

    return steps


def take_turns(contestants: dict[str, Steps], rounds: int, seconds: float = 0.5) -> dict[str, float]:
    """Median frames/s of each."""
    counts = {}
    for name, steps in contestants.items():
        steps(15)  # the preconditioners' first minibatches are dearer
        began = time.perf_counter()
        steps(4)
        counts[name] = max(4, round(4 * seconds / (time.perf_counter() - began) / 4) * 4)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, steps in contestants.items():
            began = time.perf_counter()
            frames = steps(counts[name])
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            speeds[name].append(frames / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in speeds.items()}


def show(speeds: dict[str, float], base: str) -> None:
    for name, speed in speeds.items():
        print(f"  {name:24} {speed:10.0f} frames/s  {speed / speeds[base]:5.2f} x {base}", flush=True)


def small(work: Path, rounds: int) -> None:
    store = make_store(work / "small", 200_000, SMALL.num_pdfs)
    contestants = {"bare float32 SGD": bare(SMALL, store, 256)}
    contestants["sgd float32, in memory"] = ours(SMALL, store, 256, "sgd", torch.float32, [0], in_memory=True)
    for precision, dtype in PRECISIONS.items():
        for name in ("sgd", "momentum", "adam", "ng-sgd"):
            contestants[f"{name} {precision}"] = ours(SMALL, store, 256, name, dtype, [0])
    print("440-512x3-157, minibatch 256, one core, reading included")
    show(take_turns(contestants, rounds), "bare float32 SGD")


def large(work: Path, rounds: int) -> None:
    store = make_store(work / "large", 100_000, LARGE.num_pdfs)
    for precision, dtype in PRECISIONS.items():
        contestants = {name: ours(LARGE, store, 512, name, dtype, [0]) for name in ("sgd", "ng-sgd")}
        print(f"440-1024x4-2000, minibatch 512, {precision}")
        show(take_turns(contestants, rounds, seconds=3.0), "sgd")


def stacked(work: Path, rounds: int, device: str = "cpu") -> None:
    store = make_store(work / "stacked", 400_000, SMALL.num_pdfs)
    for precision, dtype in PRECISIONS.items():
        for name in ("sgd", "ng-sgd"):
            singles = [ours(SMALL, store, 256, name, dtype, [k], device) for k in range(8)]

            def one_by_one(count: int, singles: list[Steps] = singles) -> int:
                return sum(steps(count) for steps in singles)

            together = ours(SMALL, store, 256, name, dtype, list(range(8)), device)
            print(f"8 replicas of 440-512x3-157, minibatch 256 each, {name} {precision}")
            show(take_turns({"one by one": one_by_one, "stacked": together}, rounds, seconds=1.0), "one by one")


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmHWM is the most that was resident, RssFile what is of mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}")


def formula(spec: NetworkSpec, minibatch: int, frames: int) -> dict[str, int]:
    """Bytes of a training with natural gradient in bf16, one replica, as the README states them."""
    places = layout(spec)
    parameters = sum(p.end - p.start for p in places)
    ranks = [(min(RANK_IN, (p.into + 2) // 2), p.into + 1) for p in places]
    ranks += [(min(RANK_OUT, (p.out + 1) // 2), p.out) for p in places]
    return {
        "parameters": 4 * parameters,
        "change": 4 * parameters,
        "bf16 copy": 2 * parameters,
        "natural gradient": sum(10 * rank * dim for rank, dim in ranks),
        "minibatches": 3 * 2 * minibatch * spec.input_dim,
        "activations": 4 * minibatch * sum(p.out for p in places) + 8 * minibatch * spec.num_pdfs,
        "order of frames": 12 * frames,
    }


def memory(work: Path) -> None:
    """Most resident memory beyond what the libraries take, against the formula."""
    store = make_store(work / "memory", 3_000_000, LARGE.num_pdfs)
    dtype = torch.bfloat16
    ours(SMALL, make_store(work / "tiny", 5_000, SMALL.num_pdfs), 256, "ng-sgd", dtype, [0])(20)  # the libraries
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew from what is resident now
    before, mapped_before = resident("VmHWM"), resident("RssFile")
    ours(LARGE, store, 512, "ng-sgd", dtype, [0])(60)
    mapped = resident("RssFile") - mapped_before
    grown = resident("VmHWM") - before - mapped
    parts = formula(LARGE, 512, len(store.frames))
    print("440-1024x4-2000, minibatch 512, natural gradient, bf16, in MiB")
    for name, size in [*parts.items(), ("formula, in all", sum(parts.values())), ("measured", grown)]:
        print(f"  {name:18} {size / 2**20:7.1f}")
    print(f"  {'pages of the store':18} {mapped / 2**20:7.1f} of {store.frames.nbytes / 2**20:.0f}")


def matrix_rate() -> float:
    """Measured bf16 FLOP/s of the GPU in an 8192-cubed product."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(30):
        a @ a
    torch.cuda.synchronize()
    return 30 * 2 * 8192**3 / (time.perf_counter() - began)


def gpu(work: Path, rounds: int) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    print(torch.cuda.get_device_name(), torch.__version__)
    store = make_store(work / "gpu", 2_000_000, HUGE.num_pdfs)
    rate = matrix_rate()
    sizes = [HUGE.input_dim] + [HUGE.hidden_dim] * HUGE.hidden_layers + [HUGE.num_pdfs]
    products = [a * b for a, b in itertools.pairwise(sizes)]
    flop = 2 * (3 * sum(products) - products[0])  # no derivative by the input
    contestants = {n: ours(HUGE, store, 2048, n, torch.bfloat16, [0], "cuda") for n in ("sgd", "ng-sgd")}
    for name, speed in take_turns(contestants, rounds, seconds=3.0).items():
        print(
            f"440-2048x6-8882, minibatch 2048, {name} bf16: {speed:.0f} frames/s, {speed * flop / 1e12:.0f} TFLOP/s, "
            f"{100 * speed * flop / rate:.0f} % of the {rate / 1e12:.0f} of a plain product"
        )
    stacked(work, rounds, "cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = {"small": small, "large": large, "stacked": stacked, "memory": memory, "gpu": gpu}
    parser.add_argument("what", choices=[*what, []], metavar="PART", nargs="*", help=f"of {', '.join(what)}")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    if args.threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # also the reading thread: one core in all
    torch.set_num_threads(args.threads)
    for name in args.what or ("small", "large", "stacked", "memory"):
        with tempfile.TemporaryDirectory() as work:
            if name == "memory":
                memory(Path(work))
            else:
                what[name](Path(work), args.rounds)


if __name__ == "__main__":
    main()
