"""Write the matrix of the study of asynchronous workers: K x tau x speeds, against synchronous counterparts.

    python recipes/digits/asynchronous.py > exp/digits/asynchronous.yaml
    recipes/digits/run.sh --stage 8 --stop-stage 8 --compare exp/digits/asynchronous.yaml

It is that of Zhang, Choromanska & LeCun (arXiv 1412.6651, section 5) on connected digits: held-out loss and word error
rate against modelled time, for equal and unequal speeds. Every algorithm has the same number of learning rates, and is
to be taken at the best of them. What synchronous workers learn does not depend on their speeds, but their time does:
`asr-parallel predict --jitter 0.2`, and docs/clock.md.

All of it is 7 algorithms x 3 K x 4 tau x 3 rates, and 3 speeds of the asynchronous ones: take parts of it by options.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import yaml

SPEEDS: dict[str, dict[str, float]] = {
    "equal": {},
    "jitter 20 %": {"sim_jitter": 0.2},
    "straggler": {"sim_straggler": 3.0},
}
# Name in the study: algorithm, optimizer, own options, and the middle one of its effective rates per frame. Of
# nesterov, too, rates are those without momentum, see nnet/optimizers.py
ALGORITHMS: dict[str, tuple[str, str, dict[str, Any], float]] = {
    "EASGD": ("async-elastic", "sgd", {}, 0.002),
    "EAMSGD": ("async-elastic", "nesterov", {"momentum": 0.99}, 0.002),
    "DOWNPOUR": ("downpour", "sgd", {}, 0.002),
    "ADOWNPOUR": ("adownpour", "sgd", {}, 0.002),
    "MDOWNPOUR": ("mdownpour", "sgd", {}, 0.002),
    "synchronous EASGD": ("elastic", "sgd", {}, 0.002),
    "averaging": ("average", "sgd", {}, 0.002),
}
FACTORS = (0.25, 1.0, 4.0)  # of the middle rate
OPTIONS = {"hidden_layers": 3, "hidden_dim": 256, "epochs": 2, "minibatch": 128, "combine": 0, "schedule": "constant"}


def cells(names: list[str], workers: list[int], periods: list[int], speeds: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the cells: of MDOWNPOUR with period 1 alone, and of synchronous algorithms with equal speeds alone."""
    for name in names:
        algorithm, optimizer, own, middle = ALGORITHMS[name]
        asynchronous = algorithm not in ("elastic", "average")
        for period in periods:
            if algorithm == "mdownpour" and period != 1:
                continue
            of_period = {} if algorithm == "mdownpour" else {"period": period}
            for speed in speeds if asynchronous else ["equal"]:
                for factor in FACTORS:
                    rate = factor * middle
                    yield {
                        "algorithm": algorithm,
                        "optimizer": optimizer,
                        "workers": workers,
                        "label": f"{name}, tau {period}, {speed}, rate {rate:g}",
                        "options": {**own, **of_period, **SPEEDS[speed], "learning_rate": rate},
                    }


def study(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "title": "Asynchronous workers on connected digits",
        "workers": [1],
        "seeds": args.seeds,
        "options": {**OPTIONS, "epochs": args.epochs},
        "optimizers": {"sgd": {"learning_rate": 0.002}, "nesterov": {"learning_rate": 0.002, "momentum": 0.99}},
        "cells": list(cells(args.names, args.workers, args.periods, args.speeds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--workers", nargs="+", type=int, default=[4, 8, 16])
    parser.add_argument("--periods", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--speeds", nargs="+", choices=list(SPEEDS), default=list(SPEEDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--epochs", type=int, default=OPTIONS["epochs"])
    print(yaml.safe_dump(study(parser.parse_args()), sort_keys=False), end="")


if __name__ == "__main__":
    main()
