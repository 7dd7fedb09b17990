"""The cost of EC-DNN: workers learn pseudo-labels from their ensemble.

    python benchmarks/ensemble.py [round] [label] [memory] [--rounds N]
    python benchmarks/ensemble.py lost --ensemble DIR --frames DIR

round    a round's exchange, labelling and compression over its local training: K = 4 as replicas and as two
         processes, a tenth of a share relabelled every quarter of an epoch
label    labelling against the forward passes of the same models on the same frames
memory   of a process while it labels, by the number of workers, against the formula
lost     what pseudo-labels lose that keep the n most probable pdfs of a frame, for a trained ensemble

440-512x3-157, minibatches of 512, natural gradient, one thread and core per process.
"""

import argparse
import ctypes
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import (
    PRECISIONS,
    SMALL,
    TrainingLoop,
    arguments,
    endless,
    make_store,
    minibatches,
    reset_peak,
    resident,
    run_processes,
    show,
    show_header,
)

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import EnsembleNetwork
from asr_parallel.nnet.spec import layout
from asr_parallel.parallel.ecdnn.compression import (
    BLOCK_FRAMES,
    COMPRESS,
    EXCHANGE,
    LABEL,
    LABELLED_BYTES,
    LOCAL,
)
from asr_parallel.parallel.ecdnn.soft_labels import SoftLabels
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

MINIBATCH = 512


def one_round(transport: Transport, folder: Path, rounds: int) -> None:
    store = FrameStore.open(folder / "store")
    show_header(transport, "processes", "products", "exchange", "label", "compress", "all, of local training")
    for precision in PRECISIONS:
        found = []
        for turn in range(rounds):
            options = training_options(
                workers=4, algorithm="ensemble", hidden_layers=3, hidden_dim=512, nonlinearity="relu", epochs=2,
                minibatch=MINIBATCH, learning_rate=1e-6, precision=precision, device="cpu", drop_worse=1e9,
            )  # fmt: skip
            out = folder / f"{precision}{turn}{transport.size}"
            trainer = Trainer(store, options, out, group=WorkerGroup(4, transport))
            trainer.run()
            assert trainer.compression is not None
            found.append(trainer.compression.phases.total)
        parts = [statistics.median(one[name] / one[LOCAL] for one in found) for name in (EXCHANGE, LABEL, COMPRESS)]
        shown = " | ".join(f"{100 * part:.1f} %" for part in [*parts, sum(parts)])
        show(transport, f"| {transport.size} | {precision} | {shown} |")


def label(transport: Transport, folder: Path, rounds: int) -> None:
    store = FrameStore.open(folder / "store")
    show_header(transport, "products", "forward, frames/s", "labelling, frames/s", "of forward")
    for name, precision in PRECISIONS.items():
        loop = TrainingLoop(SMALL, store, MINIBATCH, precision, WorkerGroup(4, transport), algorithm="ensemble")
        relabelled, hook = loop.algorithm.relabelled, loop.hook
        data = endless(minibatches(store, 4, range(4), MINIBATCH, precision))
        held = [next(data)[0].flatten(0, 1)[None] for _ in range(relabelled)]
        models = [loop.network.replica(k) for k in range(4)]
        frames, speeds = 16 * relabelled * MINIBATCH, []
        for turn in range(1, rounds + 2):
            began = time.perf_counter()
            for model in models:
                for spliced in held:
                    model.logits(spliced)
            forward = frames / (time.perf_counter() - began)
            before = hook.phases.total.get(LABEL, 0.0)
            hook.after_sync(turn * loop.algorithm.period)
            speeds.append((forward, frames / (hook.phases.total[LABEL] - before)))
        speeds = speeds[1:]  # in the first turn memory is allocated
        ratio = statistics.median(labelled / forward for forward, labelled in speeds)
        forward, labelled = (statistics.median(speed) for speed in zip(*speeds, strict=True))
        show(transport, f"| {name} | {forward:,.0f} | {labelled:,.0f} | {ratio:.2f} |")


def memory(transport: Transport, folder: Path, rounds: int) -> None:
    """Measure rank 0 of two processes, once with two workers before, because libraries allocate memory at first."""
    store = FrameStore.open(folder / "store")
    show_header(transport, "workers", "all models, MB", "formula, MB", "measured, MB")
    for workers in (2, 4, 8, 16):
        group = WorkerGroup(workers, transport)
        loop = TrainingLoop(SMALL, store, MINIBATCH, torch.float32, group, algorithm="ensemble")
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed memory of the last turn is used again uncounted
        reset_peak()
        before = resident("VmHWM")
        loop.hook.after_sync(loop.algorithm.period)
        measured, size = resident("VmHWM") - before, loop.network.parameters[0].nbytes
        rows = len(group.local_workers) * loop.algorithm.relabelled * MINIBATCH
        held = rows * (4 * SMALL.num_pdfs + 4 * SMALL.input_dim)
        block = 4 * BLOCK_FRAMES * 2 * (layout(SMALL)[0].out + SMALL.num_pdfs)  # two layers, logits and posteriors
        formula = 2 * size + min(held, LABELLED_BYTES) + block
        if workers > 2:
            sizes = " | ".join(f"{part / 1e6:.1f}" for part in (workers * size, formula, measured))
            show(transport, f"| {workers} | {sizes} |")


def lost(args: argparse.Namespace) -> None:
    ensemble, store = EnsembleNetwork.open(args.ensemble), FrameStore.open(args.frames)
    rows = np.sort(np.random.default_rng(0).permutation(store.rows_of(np.arange(len(store.ids))))[:20_000])
    posterior = ensemble.log_posteriors(torch.from_numpy(store.gather(rows)).float()).exp()
    print(
        "| n | bytes a frame | of all posteriors' | mass of the rest | KL, nats a frame | greatest difference, mean |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for top in (1, 2, 4, 8, 16, 32, 64):
        labels = SoftLabels.of(posterior, top)
        dense = labels.dense()
        ratio = (posterior.clamp_min(1e-30) / dense.clamp_min(1e-30)).log()
        rest = 1 - posterior.gather(1, labels.indices.long()).sum(dim=1)
        each = labels.nbytes / len(rows)
        print(
            f"| {top} | {each:.0f} | {each / (4 * store.num_pdfs):.3f} | {rest.mean():.5f} |"
            f" {(posterior * ratio).sum(dim=1).mean():.5f} | {(posterior - dense).abs().amax(dim=1).mean():.5f} |"
        )


PARTS: dict[str, tuple[Callable[[Transport, Path, int], None], list[int]]] = {  # and numbers of processes
    "round": (one_round, [1, 2]),
    "label": (label, [1]),
    "memory": (memory, [2]),
}


def main() -> None:
    parser = arguments(__doc__, [*PARTS, "lost"], rounds=5)
    parser.add_argument("--ensemble", type=Path, help="folder of a trained ensemble")
    parser.add_argument("--frames", type=Path, help="frame store that it was trained on")
    args = parser.parse_args()
    if "lost" in args.parts:
        if args.ensemble is None or args.frames is None:
            raise SystemExit("lost: needs --ensemble and --frames")
        lost(args)
    for part in [name for name in args.parts or PARTS if name != "lost"]:
        with tempfile.TemporaryDirectory() as folder:
            make_store(Path(folder) / "store", 2_000_000 if part == "memory" else 200_000, SMALL.num_pdfs)
            function, sizes = PARTS[part]
            for size in sizes:
                run_processes(size, function, Path(folder), args.rounds)


if __name__ == "__main__":
    main()
