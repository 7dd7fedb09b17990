"""Write the matrix of the study of asynchronous workers: K x tau x speeds, against synchronous counterparts.

    exp=exp/digits_plain
    python recipes/digits/asynchronous.py > $exp/asynchronous.yaml
    asr-parallel compare --exp $exp --matrix $exp/asynchronous.yaml --out $exp/asynchronous

It is that of Zhang, Choromanska & LeCun (arXiv 1412.6651, section 5) on connected digits: held-out loss and word error
rate against modelled time, for equal and unequal speeds. Every algorithm, K and tau has the same number of trials of
its learning rate; those of unequal speeds take what was chosen at equal ones. What synchronous workers learn does not
depend on their speeds, but their time does: `asr-parallel predict --jitter 0.2`, and docs/clock.md.

Workers of ADOWNPOUR and MVADOWNPOUR do what those of DOWNPOUR do: only the averages of the center differ, so two
periods are enough to see what these are worth.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import yaml

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


def main() -> None:
    """Write the file that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--workers", nargs="+", type=int, default=[4, 8, 16])
    parser.add_argument("--periods", nargs="+", type=int, choices=PERIODS, default=list(PERIODS))
    parser.add_argument("--speeds", nargs="+", choices=list(SPEEDS), default=list(SPEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=OPTIONS["epochs"])
    print(yaml.safe_dump(study(parser.parse_args()), sort_keys=False), end="")


if __name__ == "__main__":
    main()
