"""Speed of the trainer's inner loop, as ratios to a bare torch loop that takes turns with it in the same process.

    python benchmarks/training.py [small | default | compared | large | stacked | memory | gpu] [--rounds 7]
        [--threads 1] [--figures FILE]

small     440-512x3-157, minibatch 256: every optimiser and precision, data read from a frame store, against a bare
          torch.nn.Sequential + torch.optim.SGD float32 loop over data in memory; all on one core
default   440-256x3-656, minibatch 128, relu-renorm, the network of the recipe's comparison: the same
compared  440-128x2-656, minibatch 128, of the recipe's comparisons: 1, 4 and 16 replicas, data in memory
large     440-1024x4-2000, minibatch 512: natural gradient against plain SGD in the same precision
stacked   8 replicas of the small network at once against the 8 one after the other
memory    resident memory of a training on a frame store larger than it
gpu       440-512x3-157 and 440-2048x6-8882 with 1, 8 and 32 replicas, data on the GPU: share of the card's bf16 rate in
          a plain product, and natural gradient against plain SGD; then 8 small replicas at once and one after the other

Each figure is the median over rounds; in every round each contestant runs once, for half a second or more.
"""

import gc
import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import (
    DEFAULT,
    LARGE,
    PRECISIONS,
    RATE,
    SMALL,
    Steps,
    arguments,
    endless,
    make_store,
    minibatches,
    one_by_one,
    reset_peak,
    resident,
    shares,
    take_turns,
)
from figures import Figures
from torch import nn

from asr_parallel.clock.step_time import gradient_sums
from asr_parallel.features.frames import CONTEXT, FrameStore
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.spec import NetworkSpec, layout
from asr_parallel.nnet.stacked import StackedNetwork

COMPARED = dnn(40, CONTEXT, 2, 128, 656, "relu-renorm")
HUGE = dnn(40, CONTEXT, 6, 2048, 8882, "relu")


def train(
    spec: NetworkSpec,
    store: FrameStore,
    minibatch: int,
    name: str,
    dtype: torch.dtype,
    workers: list[int] | None = None,
    device: str = "cpu",
    in_memory: bool = False,
) -> Steps:
    """Return training steps on data from the store, or on a few minibatches of it again and again."""
    workers = workers or [0]
    network = StackedNetwork(spec, len(workers), device, dtype).initialise(1)
    optimiser = optimizer(name, network, MaxChange(), 0.9)
    data = endless(minibatches(store, max(workers) + 1, workers, minibatch, dtype, device))
    if in_memory:
        data = itertools.cycle([next(data) for _ in range(40)])

    def steps(count: int) -> int:
        for _ in range(count):
            optimiser.step(network.backward(*next(data)), RATE)
        return count * minibatch * len(workers)

    return steps


def bare(spec: NetworkSpec, store: FrameStore, minibatch: int) -> Steps:
    """Return steps of torch.nn.Sequential and torch.optim.SGD in float32, on spliced data in memory."""
    layers: list[nn.Module] = []
    for place in layout(spec):
        layers += [nn.Linear(place.into, place.out), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    sgd = torch.optim.SGD(net.parameters(), lr=RATE)
    rows = shares(store, 1)[0][: 40 * minibatch]
    x = torch.from_numpy(store.gather(rows)).float().split(minibatch)
    y = torch.from_numpy(store.labels[rows].astype(np.int64)).split(minibatch)
    data = itertools.cycle(zip(x, y, strict=True))

    def steps(count: int) -> int:
        for inputs, labels in itertools.islice(data, count):
            sgd.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels, reduction="sum").backward()
            sgd.step()
        return count * minibatch

    return steps


def show(speeds: dict[str, float], what: str, figures: Figures) -> None:
    print(what)
    figures.add(what, speeds)
    base = next(iter(speeds))
    for name, speed in speeds.items():
        print(f"  {name:24} {speed:10.0f} frames/s  {speed / speeds[base]:5.2f} x {base}", flush=True)


def small(folder: Path, rounds: int, figures: Figures) -> None:
    against_bare(SMALL, 256, "440-512x3-157, minibatch 256", folder, rounds, figures)


def default(folder: Path, rounds: int, figures: Figures) -> None:
    against_bare(DEFAULT, 128, "440-256x3-656, minibatch 128, renormalised", folder, rounds, figures)


def against_bare(spec: NetworkSpec, size: int, what: str, folder: Path, rounds: int, figures: Figures) -> None:
    store = make_store(folder / "store", 200_000, spec.num_pdfs)
    contestants = {"bare float32 SGD": bare(spec, store, size)}
    contestants["sgd float32, in memory"] = train(spec, store, size, "sgd", torch.float32, in_memory=True)
    for precision, dtype in PRECISIONS.items():
        for name in ("sgd", "momentum", "adam", "ng-sgd"):
            contestants[f"{name} {precision}"] = train(spec, store, size, name, dtype)
    show(take_turns(contestants, rounds), f"{what}, one core, reading included", figures)


def compared(folder: Path, rounds: int, figures: Figures) -> None:
    store = make_store(folder / "compared", 200_000, COMPARED.num_pdfs)
    for precision, dtype in PRECISIONS.items():
        contestants = {
            f"{name}, {count} replicas": train(COMPARED, store, 128, name, dtype, list(range(count)), in_memory=True)
            for name in ("sgd", "ng-sgd")
            for count in (1, 4, 16)
        }
        show(take_turns(contestants, rounds), f"440-128x2-656, minibatch 128, {precision}, one core", figures)


def large(folder: Path, rounds: int, figures: Figures) -> None:
    store = make_store(folder / "large", 100_000, LARGE.num_pdfs)
    for precision, dtype in PRECISIONS.items():
        contestants = {name: train(LARGE, store, 512, name, dtype) for name in ("sgd", "ng-sgd")}
        show(take_turns(contestants, rounds, seconds=3.0), f"440-1024x4-2000, minibatch 512, {precision}", figures)


def stacked(folder: Path, rounds: int, figures: Figures, device: str = "cpu") -> None:
    store = make_store(folder / "stacked", 400_000, SMALL.num_pdfs)
    for precision, dtype in PRECISIONS.items():
        for name in ("sgd", "ng-sgd"):
            apart = one_by_one([train(SMALL, store, 256, name, dtype, [k], device) for k in range(8)])
            together = train(SMALL, store, 256, name, dtype, list(range(8)), device)
            what = f"8 replicas of 440-512x3-157, minibatch 256 each, {name} {precision} on {device}"
            show(take_turns({"one by one": apart, "stacked": together}, rounds, seconds=1.0), what, figures)


def formula(spec: NetworkSpec, minibatch: int, frames: int) -> dict[str, int]:
    """Return the bytes of a training with natural gradient in bf16, one replica, as docs/training.md states them."""
    places = layout(spec)
    parameters = sum(p.end - p.start for p in places)
    return {
        "parameters": 4 * parameters,
        "change": 4 * parameters,
        "bf16 copy": 2 * parameters,
        "natural gradient": 10 * int(gradient_sums(spec, "ng-sgd")[1].bytes / 4),  # numbers of the Fisher estimates
        "minibatches": 3 * 2 * minibatch * spec.input_dim,
        "activations": 4 * minibatch * sum(p.out for p in places) + 8 * minibatch * spec.num_pdfs,
        "order of frames": 12 * frames,
    }


def memory(folder: Path, rounds: int, figures: Figures) -> None:
    """Print peak resident memory beyond that of the libraries, and the formula."""
    store = make_store(folder / "memory", 3_000_000, LARGE.num_pdfs)
    tiny = make_store(folder / "tiny", 5_000, SMALL.num_pdfs)
    train(SMALL, tiny, 256, "ng-sgd", torch.bfloat16)(20)  # loads the libraries
    reset_peak()
    before, mapped_before = resident("VmHWM"), resident("RssFile")
    train(LARGE, store, 512, "ng-sgd", torch.bfloat16)(60)
    mapped = resident("RssFile") - mapped_before
    grown = resident("VmHWM") - before - mapped
    parts = formula(LARGE, 512, len(store.frames))
    print("440-1024x4-2000, minibatch 512, natural gradient, bf16, in MiB")
    for name, size in [*parts.items(), ("formula, in all", sum(parts.values())), ("measured", grown)]:
        print(f"  {name:18} {size / 2**20:7.1f}")
    print(f"  {'pages of the store':18} {mapped / 2**20:7.1f} of {store.frames.nbytes / 2**20:.0f}")


def matrix_rate() -> float:
    """Return the measured bf16 FLOP/s of the GPU in an 8192-cubed product."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        a @ a
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(30):
        a @ a
    torch.cuda.synchronize()
    return 30 * 2 * 8192**3 / (time.perf_counter() - began)


def gpu(folder: Path, rounds: int, figures: Figures) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    card, rate = torch.cuda.get_device_name(), matrix_rate()
    print(f"{card}, torch {torch.__version__}, {rate / 1e12:.0f} TFLOP/s in a plain bf16 product\n")
    print("| network | minibatch | R | optimiser | frames/s | TFLOP/s | of a plain product | x sgd |")
    print("|---|--:|--:|---|--:|--:|--:|--:|")
    for name, spec, minibatch in (("440-512x3-157", SMALL, 256), ("440-2048x6-8882", HUGE, 2048)):
        store = make_store(folder / name, 2_000_000, spec.num_pdfs)
        products = [place.into * place.out for place in layout(spec)]
        flop = 2 * (3 * sum(products) - products[0])  # no derivative by the input
        for replicas in (1, 8, 32):
            workers = list(range(replicas))
            contestants = {
                kind: train(spec, store, minibatch, kind, torch.bfloat16, workers, "cuda") for kind in ("sgd", "ng-sgd")
            }
            speeds = take_turns(contestants, rounds, seconds=2.0)
            figures.add(f"{name}, minibatch {minibatch}, R {replicas}, bf16, {card}", speeds)
            for kind, speed in speeds.items():
                columns = f"{speed:,.0f} | {speed * flop / 1e12:.1f} | {100 * speed * flop / rate:.0f} %"
                print(
                    f"| {name} | {minibatch} | {replicas} | {kind} | {columns} | {speed / speeds['sgd']:.2f} |",
                    flush=True,
                )
            del contestants
            torch.cuda.empty_cache()
    stacked(folder, rounds, figures, "cuda")


PARTS = {
    "small": small, "default": default, "compared": compared, "large": large, "stacked": stacked, "memory": memory,
    "gpu": gpu,
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, PARTS, rounds=7)
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    if args.threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core in all, also for the reading thread
    torch.set_num_threads(args.threads)
    figures = Figures(args.figures, "training")
    for name in args.parts or [part for part in PARTS if part != "gpu"]:
        with tempfile.TemporaryDirectory() as folder:
            gc.collect()
            gc.freeze()  # as the training loop does
            PARTS[name](Path(folder), args.rounds, figures)


if __name__ == "__main__":
    main()
