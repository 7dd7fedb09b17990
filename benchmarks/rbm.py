"""Speed of CD-1 against nothing but its matrix products, measured in turn in one run.

    python benchmarks/rbm.py [--seconds 1.0] [--rounds 7]

The bare loop has in float32 what a minibatch cannot do without: W v, its way back, W v' and the two correlations
h^T v and h'^T v', in memory that is there already; no biases, no sigmoids, no sampling, no update. One thread, pinned
to a core; its processor time and not the clock's, so that what else the machine does matters less.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.training.minibatches import Purpose, counted_seed

# visible, hidden, minibatch; Kaldi's frames/s on one core of the same kind of machine at its own sizes
SIZES = [(440, 2048, 128), (440, 2048, 512), (2048, 2048, 128), (2048, 2048, 512), (440, 512, 100), (512, 512, 100)]
KALDI = {(440, 512, 100): 38_100, (512, 512, 100): 32_100}


def bare(visible: int, hidden: int, rows: int) -> Callable[[], None]:
    data, weight = torch.randn(rows, visible), 0.1 * torch.randn(hidden, visible)
    h, v, g = torch.empty(rows, hidden), torch.empty(rows, visible), torch.empty(hidden, visible)

    def minibatch() -> None:
        torch.mm(data, weight.T, out=h)
        torch.mm(h, weight, out=v)
        torch.mm(v, weight.T, out=h)
        torch.mm(h.T, data, out=g)
        torch.mm(h.T, v, out=g)

    return minibatch


def ours(visible: int, hidden: int, rows: int, dtype: torch.dtype, replicas: int = 1) -> Callable[[], None]:
    gaussian = visible == 440
    rbm = StackedRbm(RbmSpec(visible, hidden, gaussian), replicas, dtype=dtype)
    rbm.initialise(0, None if gaussian else torch.full((visible,), 0.5))
    data = torch.randn(replicas, rows, visible)
    data = (data if gaussian else data.sigmoid()).to(dtype)
    number = iter(range(10**9))

    def minibatch() -> None:
        k = next(number)
        seeds = [
            int(counted_seed(0, Purpose.RBM_SAMPLES, r, k).generate_state(1, np.uint64)[0]) for r in range(replicas)
        ]
        rbm.update(rbm.contrast(data, seeds), 1e-4, 0.9).error_sum.sum()

    return minibatch


def measure(loops: dict[str, tuple[Callable[[], None], int]], seconds: float, rounds: int) -> dict[str, float]:
    """Median frames/s of each (minibatch, its frames), taken in turn."""
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for minibatch, _ in loops.values():
        minibatch()
    for _ in range(rounds):
        for name, (minibatch, frames) in loops.items():
            began, count = time.process_time(), 0
            while time.process_time() - began < seconds:
                minibatch()
                count += 1
            speeds[name].append(count * frames / (time.process_time() - began))
    return {name: statistics.median(found) for name, found in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| layer | minibatch | bare float32 | float32 | of bare | bf16 | of bare | Kaldi | best of Kaldi's |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for size in SIZES:
        visible, hidden, rows = size
        loops = {"bare": (bare(*size), rows)}
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            loops[name] = (ours(*size, dtype), rows)
        speed = measure(loops, args.seconds, args.rounds)
        kaldi = KALDI.get(size)
        best = max(speed["float32"], speed["bf16"])
        beside = f"{kaldi:,} | {best / kaldi:.2f}x" if kaldi else "- | -"
        print(
            f"| {visible}-{hidden} | {rows} | {speed['bare']:,.0f} | {speed['float32']:,.0f} |"
            f" {speed['float32'] / speed['bare']:.2f}x | {speed['bf16']:,.0f} | {speed['bf16'] / speed['bare']:.2f}x |"
            f" {beside} |",
            flush=True,
        )
    print("four replicas of 440-512, minibatch 100, frames/s of all:")
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        stacked, each = ours(440, 512, 100, dtype, replicas=4), [ours(440, 512, 100, dtype) for _ in range(4)]

        def one_by_one(each: list[Callable[[], None]] = each) -> None:
            for minibatch in each:
                minibatch()

        speed = measure({"stacked": (stacked, 400), "one by one": (one_by_one, 400)}, args.seconds, args.rounds)
        print(f"  {name}: stacked {speed['stacked']:,.0f}, one by one {speed['one by one']:,.0f}")


if __name__ == "__main__":
    main()
