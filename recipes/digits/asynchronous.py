"""Write the matrix of the study of asynchronous workers (K x tau x speeds), or the tables of its results.

    exp=exp/digits_plain
    python recipes/digits/asynchronous.py > $exp/asynchronous.yaml
    asr-parallel compare --exp $exp --matrix $exp/asynchronous.yaml --out $exp/asynchronous
    python recipes/digits/asynchronous.py --table $exp/asynchronous/comparison.json

The study is that of Zhang, Choromanska & LeCun (arXiv 1412.6651, section 5) on connected digits: held-out loss and word
error rate against modelled time, for equal and unequal speeds, beside synchronous counterparts. Every algorithm, K and
tau has the same number of trials of its learning rate; those of unequal speeds take what was chosen at equal ones. What
synchronous workers learn does not depend on their speeds, but their time does: `asr-parallel predict --jitter 0.2`, and
docs/clock.md.

Workers of ADOWNPOUR and MVADOWNPOUR do what those of DOWNPOUR do: only the averages of the center differ, so two
periods are enough to see what these are worth.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from asr_parallel.decode.paired_difference import mean_difference
from asr_parallel.report.comparison import Cell, Comparison

EQUAL = "equal speeds"
SPEEDS: dict[str, dict[str, float]] = {
    EQUAL: {},
    "jitter 20 %": {"sim_jitter": 0.2},
    "straggler": {"sim_straggler": 3.0},
}
PERIODS = (1, 4, 16, 64)
UNEQUAL_PERIODS = (1, 16)  # of unequal speeds
# Name in the study: algorithm, optimizer, own options, periods, and whether unequal speeds are of interest
ALGORITHMS: dict[str, tuple[str, str, tuple[int, ...], bool]] = {
    "EASGD": ("async-elastic", "sgd", PERIODS, True),
    "EAMSGD": ("async-elastic", "nesterov", PERIODS, True),
    "DOWNPOUR": ("downpour", "sgd", PERIODS, True),
    "ADOWNPOUR": ("adownpour", "sgd", (1, 16), False),
    "MVADOWNPOUR": ("mvadownpour", "sgd", (1, 16), False),
    "MDOWNPOUR": ("mdownpour", "sgd", (1,), False),
    "synchronous EASGD": ("elastic", "sgd", PERIODS, False),
    "synchronous EAMSGD": ("elastic", "nesterov", PERIODS, False),
    "averaging": ("average", "sgd", PERIODS, False),
}
OPTIONS = {"hidden_layers": 2, "hidden_dim": 64, "nonlinearity": "relu", "epochs": 2, "minibatch": 64, "combine": 0}
TUNE = {
    "trials": 4,
    # Effective, per frame; of nesterov too: nnet/optimizers.py. Wide, as DOWNPOUR's workers add up with a long period
    "space": {"learning_rate": {"log": [0.0001, 0.032]}},
}


def cells(names: list[str], workers: list[int], periods: list[int], speeds: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the cells; those of unequal speeds are tuned as those of equal ones."""
    for name in names:
        algorithm, optimizer, own_periods, unequal = ALGORITHMS[name]
        for period in (period for period in periods if period in own_periods):
            of_period = {} if algorithm == "mdownpour" else {"period": period}
            label = f"{name}, tau {period}"
            of_interest = unequal and period in UNEQUAL_PERIODS
            for speed in [EQUAL, *(speed for speed in speeds if of_interest and speed != EQUAL)]:
                cell = {"algorithm": algorithm, "optimizer": optimizer, "workers": workers, "options": of_period}
                if speed == EQUAL:
                    yield cell | {"label": label}
                else:
                    own = {**of_period, **SPEEDS[speed]}
                    yield cell | {"label": f"{label}, {speed}", "options": own, "tuned_as": label}


def study(args: argparse.Namespace) -> dict[str, Any]:
    """Return the contents of the file."""
    return {
        "title": "Asynchronous workers on connected digits",
        "seeds": args.seeds,
        "options": {**OPTIONS, "epochs": args.epochs},
        "optimizers": {"sgd": {}, "nesterov": {"momentum": 0.99}},  # section 5 of the paper: delta
        "tune": {**TUNE, "budget": max(1, args.epochs // 2) / args.epochs},
        "cells": list(cells(args.names, args.workers, args.periods, args.speeds)),
    }


def of_seeds(cells: Sequence[Cell], label: str, workers: int, optimizer: str) -> dict[int, Cell]:
    """Return the trainings of a contestant that are done, by seed."""
    return {
        cell.seed: cell
        for cell in cells
        if (cell.label, cell.workers, cell.optimizer, cell.status) == (label, workers, optimizer, "done")
    }


def difference(own: dict[int, Cell], base: dict[int, Cell]) -> str:
    """Return the paired difference in held-out loss of trainings by seed, see `paired`."""
    losses = [(own[seed].held_out_loss, base[seed].held_out_loss) for seed in sorted(own.keys() & base.keys())]
    return paired([(mine, its) for mine, its in losses if mine is not None and its is not None])


def paired(losses: Sequence[tuple[float, float]]) -> str:
    """Return the mean difference of pairs with half its 95 % interval; "-" of fewer than two."""
    found = mean_difference(*zip(*losses, strict=True)) if losses else None
    return "-" if found is None else f"{found.difference:+.3f} ± {found.interval()[1] - found.difference:.3f}"


def errors(cells: dict[int, Cell]) -> str:
    """Return the mean WER on eval; "-" where nothing is done."""
    found = [cell.wer["eval"].wer for cell in cells.values() if "eval" in cell.wer]
    return f"{statistics.fmean(found):.1f}" if found else "-"


def seconds(cells: dict[int, Cell]) -> float | None:
    found = [cell.modelled.seconds for cell in cells.values() if cell.modelled and cell.modelled.seconds]
    return statistics.fmean(found) if found else None


def ratio(over: float | None, under: float | None) -> str:
    return "-" if over is None or not under else f"{over / under:.2f}"


def table(comparison: Comparison, args: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the tables in Markdown: equal speeds against one worker, unequal ones against equal ones."""
    cells, several = comparison.cells, args.workers
    heads = [f"K = {workers}" for workers in several]
    yield f"| system | tau | {' | '.join(f'{h}: loss | WER % | speedup' for h in heads)} |"
    yield "|---|--:|" + "--:|" * 3 * len(several)
    for name, (_, optimizer, periods, _) in ALGORITHMS.items():
        single = of_seeds(cells, "", 1, optimizer)
        for period in periods:
            row = [of_seeds(cells, f"{name}, tau {period}", workers, optimizer) for workers in several]
            parts = [
                f"{difference(one, single)} | {errors(one)} | {ratio(seconds(single), seconds(one))}" for one in row
            ]
            yield f"| {name} | {period} | {' | '.join(parts)} |"
    yield ""
    yield f"| system | tau | speeds | {' | '.join(f'{h}: loss | time | staleness' for h in heads)} |"
    yield "|---|--:|---|" + "--:|" * 3 * len(several)
    for name, (_, optimizer, _, unequal) in ALGORITHMS.items():
        for period in UNEQUAL_PERIODS if unequal else ():
            for speed in [one for one in SPEEDS if one != EQUAL]:
                parts = []
                for workers in several:
                    equal = of_seeds(cells, f"{name}, tau {period}", workers, optimizer)
                    own = of_seeds(cells, f"{name}, tau {period}, {speed}", workers, optimizer)
                    late = [cell.staleness for cell in own.values() if cell.staleness is not None]
                    staleness = f"{statistics.fmean(late):.1f}" if late else "-"
                    parts.append(f"{difference(own, equal)} | {ratio(seconds(own), seconds(equal))} | {staleness}")
                yield f"| {name} | {period} | {speed} | {' | '.join(parts)} |"


def main() -> None:
    """Print the file that the options ask for, or the tables of its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--workers", nargs="+", type=int, default=[4, 8, 16])
    parser.add_argument("--periods", nargs="+", type=int, choices=PERIODS, default=list(PERIODS))
    parser.add_argument("--speeds", nargs="+", choices=list(SPEEDS), default=list(SPEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=OPTIONS["epochs"])
    parser.add_argument("--table", type=Path, metavar="comparison.json", help="print tables of these results instead")
    args = parser.parse_args()
    if args.table is None:
        print(yaml.safe_dump(study(args), sort_keys=False), end="")
    else:
        print("\n".join(table(Comparison.open(args.table), args)))


if __name__ == "__main__":
    main()
