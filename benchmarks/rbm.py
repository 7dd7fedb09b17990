"""Speed of CD-1 against its matrix products alone, in turns.

    python benchmarks/rbm.py [--seconds 1.0] [--rounds 7] [--figures FILE]

The bare loop does in float32 the five products that a minibatch needs, into allocated memory: W v, its way back,
W v' and the correlations h^T v and h'^T v'; no biases, sigmoids, sampling or update. One thread on one core, in
processor time, so that other work on the machine matters less. benchmarks/kaldi.py has Kaldi's program beside it.
"""

import os
import time

import numpy as np
import torch
from common import PRECISIONS, Steps, arguments, one_by_one, take_turns
from figures import Figures

from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.training.minibatches import Purpose, counted_seed

# visible, hidden, minibatch
SIZES = [(440, 2048, 128), (440, 2048, 512), (2048, 2048, 128), (2048, 2048, 512), (440, 512, 100), (512, 512, 100)]


def bare(visible: int, hidden: int, rows: int) -> Steps:
    data, weight = torch.randn(rows, visible), 0.1 * torch.randn(hidden, visible)
    h, v, g = torch.empty(rows, hidden), torch.empty(rows, visible), torch.empty(hidden, visible)

    def steps(count: int) -> int:
        for _ in range(count):
            torch.mm(data, weight.T, out=h)
            torch.mm(h, weight, out=v)
            torch.mm(v, weight.T, out=h)
            torch.mm(h.T, data, out=g)
            torch.mm(h.T, v, out=g)
        return count * rows

    return steps


def cd1(visible: int, hidden: int, rows: int, dtype: torch.dtype, replicas: int = 1) -> Steps:
    gaussian = visible == 440
    rbm = StackedRbm(RbmSpec(visible, hidden, gaussian), replicas, dtype=dtype)
    rbm.initialise(0, None if gaussian else torch.full((visible,), 0.5))
    data = torch.randn(replicas, rows, visible)
    data = (data if gaussian else data.sigmoid()).to(dtype)
    numbers = iter(range(10**9))

    def steps(count: int) -> int:
        for k in (next(numbers) for _ in range(count)):
            states = (counted_seed(0, Purpose.RBM_SAMPLES, r, k).generate_state(1, np.uint64) for r in range(replicas))
            rbm.update(rbm.contrast(data, [int(state[0]) for state in states]), 1e-4, 0.9).error_sum.sum()
        return count * replicas * rows

    return steps


def main() -> None:
    parser = arguments(__doc__, [], rounds=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (default: %(default)s)")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)

    figures = Figures(args.figures, "rbm")

    def speeds(what: str, contestants: dict[str, Steps]) -> dict[str, float]:
        measured = take_turns(contestants, args.rounds, args.seconds, time.process_time, warm_up=1)
        figures.add(what, measured)
        return measured

    print("| layer | minibatch | bare float32 | float32 | of bare | bf16 | of bare |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for size in SIZES:
        visible, hidden, rows = size
        what = f"{visible}-{hidden}, minibatch {rows}"
        speed = speeds(what, {"bare": bare(*size)} | {name: cd1(*size, dtype) for name, dtype in PRECISIONS.items()})
        columns = [f"{speed[name]:,.0f} | {speed[name] / speed['bare']:.2f}x" for name in PRECISIONS]
        print(f"| {visible}-{hidden} | {rows} | {speed['bare']:,.0f} | {' | '.join(columns)} |", flush=True)
    print("\n| four replicas of 440-512, minibatch 100 | one by one | stacked | ratio |\n|---|--:|--:|--:|")
    for name, dtype in PRECISIONS.items():
        apart = one_by_one([cd1(440, 512, 100, dtype) for _ in range(4)])
        what = f"four replicas of 440-512, minibatch 100, {name}"
        speed = speeds(what, {"one by one": apart, "stacked": cd1(440, 512, 100, dtype, replicas=4)})
        one, stacked = speed["one by one"], speed["stacked"]
        print(f"| {name} | {one:,.0f} | {stacked:,.0f} | {stacked / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
