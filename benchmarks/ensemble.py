"""What it costs that workers learn from their ensemble.

    python benchmarks/ensemble.py [round] [label] [memory] [--rounds N]
    python benchmarks/ensemble.py lost --ensemble DIR --frames DIR

round    a round's exchange, labelling and compression against its local training: K = 4 as replicas and as two
         processes, a tenth of a share relabelled every quarter of an epoch
label    labelling against nothing but the forward passes of the same models on the same frames
memory   of a process while it labels, by the number of workers, against the formula
lost     what pseudo-labels lose that keep the n most probable pdfs of a frame, of a trained ensemble

440-512x3-157, minibatches of 512, natural gradient, a thread and a core for each process.
"""

import argparse
import ctypes
import gc
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from training import PRECISIONS, SMALL, forever, make_store, shares

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import EnsembleNetwork
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithm import Context
from asr_parallel.parallel.ecdnn.compression import (
    BLOCK_FRAMES,
    COMPRESS,
    EXCHANGE,
    LABEL,
    LABELLED_BYTES,
    LOCAL,
    Compression,
)
from asr_parallel.parallel.ecdnn.ensemble import Ensemble, EnsembleOptions
from asr_parallel.parallel.ecdnn.soft_labels import SoftLabels
from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.options import TrainingOptions
from asr_parallel.training.trainer import Trainer

MINIBATCH = 512
CPU = torch.device("cpu")


def a_round(folder: Path, transport: Transport, rounds: int) -> None:
    store = FrameStore.open(folder / "store")
    for precision in PRECISIONS:
        found = []
        for turn in range(rounds):
            options = TrainingOptions(
                workers=4, algorithm="ensemble", hidden_layers=3, hidden_dim=512, nonlinearity="relu", epochs=2,
                minibatch=MINIBATCH, learning_rate=1e-6, precision=precision, device="cpu", drop_worse=1e9,
            )  # fmt: skip
            trainer = Trainer(
                store, options, folder / f"{precision}{turn}{transport.size}", group=WorkerGroup(4, transport)
            )
            trainer.run()
            assert trainer.compression is not None
            found.append(trainer.compression.phases.total)
        parts = {name: statistics.median(of[name] / of[LOCAL] for of in found) for name in (EXCHANGE, LABEL, COMPRESS)}
        if transport.rank == 0:
            shown = " | ".join(f"{100 * part:.1f} %" for part in parts.values())
            print(f"| {transport.size} | {precision} | {shown} | {100 * sum(parts.values()):.1f} % |", flush=True)


def compression(store: FrameStore, workers: int, group: WorkerGroup, precision: torch.dtype, top: int = 16) -> tuple:
    """A compression of a quarter of an epoch's meetings, and the network it is of."""
    parts = shares(store, workers)
    batches = Minibatches(
        store,
        [parts[k] for k in group.local_workers],
        group.local_workers,
        MINIBATCH,
        0,
        None,
        precision,
        CPU,
        frames=[len(p) for p in parts],
    )
    network = StackedNetwork(SMALL, len(group.local_workers), CPU, precision).initialise(1)
    algorithm = Ensemble(EnsembleOptions(top=top))
    algorithm.start(network.parameters[0], Context(group, batches.minibatches_per_epoch, 1000))
    return Compression(algorithm, Outputs(), 1.0, network, batches, None), network, algorithm


def label(folder: Path, transport: Transport, rounds: int) -> None:
    """In one process."""
    store = FrameStore.open(folder / "store")
    for name, precision in PRECISIONS.items():
        made, network, algorithm = compression(store, 4, WorkerGroup(4, SingleProcess()), precision)
        parts = shares(store, 4)
        batches = Minibatches(store, parts, range(4), MINIBATCH, 0, None, precision, CPU)
        data, frames = forever(batches), 4 * algorithm.relabelled * MINIBATCH
        held = [next(data)[0].flatten(0, 1)[None] for _ in range(algorithm.relabelled)]
        models = [network.replica(k) for k in range(4)]
        speeds: dict[str, list[float]] = {"forward": [], "labelled": []}
        for turn in range(1, rounds + 2):
            began = time.perf_counter()
            for model in models:
                for spliced in held:
                    model.logits(spliced)
            speeds["forward"].append(4 * frames / (time.perf_counter() - began))
            before = made.phases.total.get(LABEL, 0.0)
            made.after_sync(turn * algorithm.period)
            speeds["labelled"].append(4 * frames / (made.phases.total[LABEL] - before))
        pairs = list(zip(speeds["forward"], speeds["labelled"], strict=True))[1:]  # the first time memory is new
        ratio = statistics.median(own / bare for bare, own in pairs)
        forward, labelled = (statistics.median(speed) for speed in zip(*pairs, strict=True))
        print(f"| {name} | {forward:,.0f} | {labelled:,.0f} | {ratio:.2f} |", flush=True)


def high_water() -> int:
    """Bytes, the most this process has had since the mark was reset."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def memory(folder: Path, transport: Transport, rounds: int) -> None:
    """Of rank 0 of two processes. Libraries take memory of their own at first, hence a round that does not count."""
    store = FrameStore.open(folder / "store")
    for workers in (2, 4, 8, 16):
        group = WorkerGroup(workers, transport)
        made, network, algorithm = compression(store, workers, group, torch.float32)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory of the last turn is not to be used again unseen
        Path("/proc/self/clear_refs").write_text("5")
        before = high_water()
        made.after_sync(algorithm.period)
        size = network.parameters[0].nbytes
        rows = len(group.local_workers) * algorithm.relabelled * MINIBATCH
        held = rows * (4 * SMALL.num_pdfs + 4 * SMALL.input_dim)
        if transport.rank == 0 and workers > 2:
            block = 4 * BLOCK_FRAMES * (2 * SMALL.hidden_dim + 2 * SMALL.num_pdfs)  # two layers, logits and posteriors
            formula, measured = 2 * size + min(held, LABELLED_BYTES) + block, high_water() - before
            sizes = " | ".join(f"{of / 1e6:.1f}" for of in (workers * size, formula, measured))
            print(f"| {workers} | {sizes} |", flush=True)


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


PARTS: dict[str, tuple[Callable[[Path, Transport, int], None], list[int], str]] = {
    "round": (a_round, [1, 2], "| processes | products | exchange | label | compress | all, of local training |"),
    "label": (label, [1], "| products | forward, frames/s | labelling, frames/s | of forward |"),
    "memory": (memory, [2], "| workers | all models, MB | formula, MB | measured, MB |"),
}


def work(rank: int, folder: Path, part: str, size: int, rounds: int) -> None:
    """One of the processes."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    if size == 1:
        PARTS[part][0](folder, SingleProcess(), rounds)
        return
    seat = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {**seat, "ASR_PARALLEL_LAUNCH": str(folder)}
    transport = join(folder / "meeting", "cpu", None, 600.0)
    try:
        PARTS[part][0](folder, transport, rounds)
    finally:
        transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*PARTS, "lost", []], metavar="PART", nargs="*")
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--ensemble", type=Path, help="of a trained network")
    parser.add_argument("--frames", type=Path, help="frame store it was trained on")
    args = parser.parse_args()
    if "lost" in args.what:
        if args.ensemble is None or args.frames is None:
            raise SystemExit("lost: needs --ensemble and --frames")
        lost(args)
    for part in [name for name in args.what or PARTS if name != "lost"]:
        with tempfile.TemporaryDirectory() as folder:
            make_store(Path(folder) / "store", 2_000_000 if part == "memory" else 200_000, SMALL.num_pdfs)
            print(f"\nload before: {os.getloadavg()[0]:.2f}\n\n{PARTS[part][2]}", flush=True)
            print("|" + "---|" * PARTS[part][2].count(" | ") + "---|", flush=True)
            for size in PARTS[part][1]:
                torch.multiprocessing.spawn(work, (Path(folder), part, size, args.rounds), size)


if __name__ == "__main__":
    main()
