#!/usr/bin/env python3
"""Does RBM pretraining help? {random, RBM} x {SGD, NG-SGD} x hidden layers x seeds, and the table of what came out.

    python recipes/pretraining_study.py swbd --exp exp/swbd --hidden-dim 512 --epochs 2

A cell is an ordinary run of the recipe's stages 5 to 7 in an experiment folder whose own stages 0 to 7 are done. Cells
that are there are not made again, so that a study goes on where it stopped; every core runs one at a time.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study import all_at_once, find, study_parser

STARTS = ("random", "rbm")
OPTIMIZERS = ("sgd", "ng-sgd")


@dataclass(frozen=True)
class Cell:
    """One training. name: of its folder."""

    start: str
    optimizer: str
    layers: int
    seed: int

    @property
    def name(self) -> str:
        return f"study_{self.start}_{self.optimizer}_{self.layers}_{self.seed}"


def table(exp: Path, layers: Sequence[int], seeds: Sequence[int]) -> None:
    """Means over seeds; in brackets the standard deviation of the evaluation set's word error rate."""
    print(
        "| layers | optimiser | start | held-out loss | frames right | WER dev | WER eval | frames to the worse loss |"
    )
    print("|--:|---|---|--:|--:|--:|--:|--:|")
    for depth, optimizer in itertools.product(layers, OPTIMIZERS):
        found = {start: [find(exp, Cell(start, optimizer, depth, seed).name) for seed in seeds] for start in STARTS}
        for start, other in (STARTS, STARTS[::-1]):
            mine = found[start]
            shares = []
            for own, its in zip(mine, found[other], strict=True):
                reached = own.frames_to(max(own.course[-1][1], its.course[-1][1]))
                shares.append(None if reached is None else reached / own.course[-1][0])
            mean = statistics.mean
            spread = statistics.stdev([one.eval for one in mine]) if len(mine) > 1 else 0.0
            share = "-" if None in shares else f"{100 * mean(s for s in shares if s is not None):.0f} %"
            print(
                f"| {depth} | {optimizer} | {start} | {mean(one.course[-1][1] for one in mine):.3f} |"
                f" {mean(one.accuracy for one in mine):.1f} % | {mean(one.dev for one in mine):.2f} |"
                f" {mean(one.eval for one in mine):.2f} ({spread:.2f}) | {share} |"
            )


def main() -> None:
    parser = study_parser(__doc__, "all stages")
    parser.add_argument("--hidden-dim", type=int, default=512)
    parser.add_argument("--layers", default="3,6", help="numbers of hidden layers (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--evaluate-frames", type=int, default=50_000, help="between evaluations on held-out data")
    parser.add_argument("--rbm-epochs", type=int, default=3)
    parser.add_argument("--seeds", default="1,2,3", help="(default: %(default)s)")
    parser.add_argument("--decode", action=argparse.BooleanOptionalAction, default=True, help="for word error rates")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    for start, optimizer in itertools.product(STARTS, OPTIMIZERS):
        flag = f"--rate-{start}-{optimizer}"
        parser.add_argument(flag, type=float, required=True, help="first learning rate; the last is a tenth of it")
    args = parser.parse_args()
    layers, seeds = ([int(word) for word in text.split(",")] for text in (args.layers, args.seeds))
    exp = args.exp.resolve()
    cells = [Cell(*of) for of in itertools.product(STARTS, OPTIMIZERS, layers, seeds)]
    if not args.table:
        size = ["--hidden-dim", str(args.hidden_dim)]
        stack = ["--stage", "5", "--stop-stage", "5", "--pretrain", "rbm", "--hidden-layers", str(max(layers)), *size]
        stack += ["--rbm-epochs", str(args.rbm_epochs)]
        all_at_once([[*stack, "--seed", str(s), "--rbm", f"study_rbm_{s}"] for s in seeds], args.recipe, exp)
        jobs = []
        for cell in cells:
            rate = getattr(args, f"rate_{cell.start}_{cell.optimizer.replace('-', '_')}")
            more = ["--pretrain", "rbm", "--rbm", f"study_rbm_{cell.seed}"] if cell.start == "rbm" else []
            jobs.append([
                "--stage", "6", "--stop-stage", "7" if args.decode else "6",
                "--dnn", cell.name, "--seed", str(cell.seed), *size, *more,
                "--hidden-layers", str(cell.layers), "--nonlinearity", "sigmoid", "--optimizer", cell.optimizer,
                "--learning-rate", f"{rate:g}", "--final-learning-rate", f"{rate / 10:g}",
                "--epochs", str(args.epochs), "--systems", "dnn", "--evaluate-frames", str(args.evaluate_frames),
            ])  # fmt: skip
        all_at_once(jobs, args.recipe, exp)
    table(exp, layers, seeds)


if __name__ == "__main__":
    sys.exit(main())
