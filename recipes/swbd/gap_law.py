"""How the loss of training on K workers depends on K, on the number of frames and on the size of the network.

    exp=exp/swbd
    python recipes/swbd/gap_law.py matrix > $exp/gap_law.yaml
    asr-parallel compare --exp $exp --matrix $exp/gap_law.yaml --out $exp/gap_law
    python recipes/swbd/gap_law.py fit $exp/gap_law/comparison.json --out $exp/gap_law/law

The gap is the held-out loss of K workers over that of one, less 1, for the same network, data and seed. All contestants
have as many trials of their learning rate; the largest part of the data takes what was chosen on the next smaller one.
The law is a power law in K - 1 (there is no gap at K = 1) and in the frames of the training, fitted for every algorithm
and network by weighted least squares.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import least_squares
from scipy.stats import t

from asr_parallel.record.files import atomic_file, write_json
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.figures import COLOURS, house_style, new_figure

ALGORITHMS: dict[str, dict[str, Any]] = {"average": {}, "block-momentum": {}, "gradient": {}}
SIZES = ("2x64", "2x128", "3x256")  # layers x units
SHARES = (1 / 27, 1 / 9, 1 / 3, 1.0)  # of the training data
# One limit on a step, tuned as well: with the default ones the learning rate decides nothing for 32 averaging workers
OPTIONS = {"epochs": 2, "minibatch": 128, "combine": 0, "max_change": 0, "max_change_output": 0}
SPACE = {"learning_rate": {"log": [0.002, 0.128]}, "max_param_change": {"log": [0.5, 16]}}
TUNE = {"trials": 8, "budget": 0.5, "space": SPACE}
DECODE = {"beam": 8, "lattice_beam": 4, "max_active": 1500}
LEAST_DEVIATION = 0.001  # of a gap: seeds that happen to agree do not outweigh all others
CONFIDENCE = 0.95


def label_of(size: str, share: float) -> str:
    return f"{size}, {share:.3g} of the data"


def matrix(args: argparse.Namespace) -> dict[str, Any]:
    """Return the contents of the comparison's file."""
    shares = sorted(args.shares)
    cells = []
    for size in args.sizes:
        layers, units = map(int, size.split("x"))
        for share in shares:
            options = {"hidden_layers": layers, "hidden_dim": units, "train_share": share}
            for algorithm in args.algorithms:
                own = ALGORITHMS[algorithm]
                cell = {"algorithm": algorithm, "workers": [1, *args.workers], "label": label_of(size, share)}
                if len(shares) > 1 and share == shares[-1]:
                    cell["tuned_as"] = label_of(size, shares[-2])
                cells.append(cell | {"options": options | own})
    return {
        "title": "The gap to one worker, by workers, frames and size",
        "seeds": args.seeds, "optimizers": {"ng-sgd": {}}, "options": OPTIONS,
        "tune": TUNE, "decode": DECODE, "cells": cells,
    }  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """Held-out loss of K workers over that of one, less 1: mean over seeds and standard deviation of the mean."""

    algorithm: str
    size: str
    workers: int
    frames: int
    mean: float
    deviation: float
    seeds: int


def gaps_of(comparison: Comparison) -> list[Gap]:
    """Return the gaps by algorithm, size, workers and frames, of trainings whose single worker is done too.

    Raises:
        ValueError: there is none.
    """
    losses = {
        (cell.label, cell.workers, cell.workers > 1 and cell.algorithm, cell.seed): (cell.held_out_loss, cell.frames)
        for cell in comparison.cells
        if cell.status == "done" and cell.held_out_loss is not None
    }
    found: dict[tuple[str, str, int, int], list[float]] = {}
    for (label, workers, algorithm, seed), (loss, _) in losses.items():
        single, frames = losses.get((label, 1, False, seed), (None, None))
        if algorithm and single and frames and loss:
            found.setdefault((str(algorithm), label.partition(",")[0], workers, frames), []).append(loss / single - 1)
    if not found:
        raise ValueError(
            "no training on several workers whose single worker is done; expected those of a gap law's file"
        )
    spread = [statistics.variance(of_seeds) for of_seeds in found.values() if len(of_seeds) > 1]
    deviation = max(LEAST_DEVIATION, statistics.fmean(spread) ** 0.5 if spread else 0.0)  # pooled: seeds are few
    return [
        Gap(*key, statistics.fmean(of_seeds), deviation / len(of_seeds) ** 0.5, len(of_seeds))
        for key, of_seeds in sorted(found.items())
    ]


@dataclass(frozen=True)
class Law:
    """gap = scale (K - 1)^workers_power (frames / 1 M)^frames_power; half widths are those of 95 % intervals."""

    algorithm: str
    size: str
    points: int
    scale: float
    workers_power: float
    workers_half_width: float
    frames_power: float
    frames_half_width: float

    def gap(self, workers: int, frames: float) -> float:
        """Return the gap that the law has for K workers and a number of frames."""
        return float(self.scale * (workers - 1) ** self.workers_power * (frames / 1e6) ** self.frames_power)


def fitted(gaps: Sequence[Gap]) -> Law:
    """Return the law of the gaps of one algorithm and size.

    Raises:
        ValueError: fewer than four gaps, or of a single number of workers or frames.
    """
    workers = np.array([one.workers - 1.0 for one in gaps])
    frames = np.array([one.frames / 1e6 for one in gaps])
    first = gaps[0]
    if len(gaps) < 4 or len(set(workers)) < 2 or len(set(frames)) < 2:
        raise ValueError(
            f"{first.algorithm}, {first.size}: {len(gaps)} gaps of {len(set(workers))} numbers of workers and"
            f" {len(set(frames))} of frames; expected four and two of each"
        )
    measured, deviation = (np.array([getattr(one, name) for one in gaps]) for name in ("mean", "deviation"))

    def error(law: np.ndarray) -> np.ndarray:
        return (np.exp(law[0] + law[1] * np.log(workers) + law[2] * np.log(frames)) - measured) / deviation

    start = [np.log(max(measured.mean(), LEAST_DEVIATION)), 0.5, -0.5]
    fit = least_squares(error, start, x_scale=[1.0, 0.3, 0.3])
    free = len(gaps) - 3
    spread = max(1.0, 2 * fit.cost / free)  # where the law does not fit, its intervals are wider
    try:
        covariance = np.linalg.inv(fit.jac.T @ fit.jac) * spread
        half = t.ppf((1 + CONFIDENCE) / 2, free) * np.sqrt(np.diag(covariance))
    except np.linalg.LinAlgError:  # the gaps do not determine a power
        half = np.full(3, np.inf)
    scale, workers_power, frames_power = float(np.exp(fit.x[0])), float(fit.x[1]), float(fit.x[2])
    return Law(
        first.algorithm, first.size, len(gaps), scale, workers_power, float(half[1]), frames_power, float(half[2])
    )  # fmt: skip


def by_system(gaps: Sequence[Gap]) -> Iterator[tuple[tuple[str, str], list[Gap]]]:
    """Yield the gaps of every algorithm and size."""
    ordered = sorted(gaps, key=lambda one: (one.algorithm, one.size))
    for key, group in groupby(ordered, key=lambda one: (one.algorithm, one.size)):
        yield key, list(group)


def table(gaps: Sequence[Gap], laws: Sequence[Law], predict: tuple[int, float]) -> str:
    """Return the gaps and the laws as Markdown tables."""
    rows = ["| algorithm | network | K | frames | gap % | standard error | seeds |", "|---|---|--:|--:|--:|--:|--:|"]
    rows += [
        f"| {one.algorithm} | {one.size} | {one.workers} | {one.frames:,} | {100 * one.mean:.2f} |"
        f" {100 * one.deviation:.2f} | {one.seeds} |"
        for one in gaps
    ]
    workers, frames = predict
    rows += [
        "",
        f"| algorithm | network | power of K - 1 | power of frames | law's gap at K = {workers}, {frames:.3g} frames |",
        "|---|---|--:|--:|--:|",
    ]
    rows += [
        f"| {law.algorithm} | {law.size} | {power(law.workers_power, law.workers_half_width)} |"
        f" {power(law.frames_power, law.frames_half_width)} | {100 * law.gap(workers, frames):.2f} % |"
        for law in laws
    ]
    return "\n".join(rows) + "\n"


def power(value: float, half_width: float) -> str:
    return f"{value:.2f} ± {half_width:.2f}"


def draw(gaps: Sequence[Gap], laws: Sequence[Law], path: Path) -> None:
    """Write the figure: gap against frames, a panel for every algorithm and size, a line for every K."""
    of_system = dict(by_system(gaps))
    sizes = sorted({one.size for one in gaps})
    algorithms = sorted({one.algorithm for one in gaps})
    ticks = sorted({one.frames for one in gaps})
    with house_style():
        figure, axes = new_figure(
            1.7 * len(algorithms) + 0.5, len(algorithms), len(sizes), sharex=True, sharey=True
        )  # fmt: skip
        for axis, (algorithm, size) in zip(axes, ((a, s) for a in algorithms for s in sizes), strict=True):
            axis.set_title(f"{algorithm}, {size}", fontsize=7)
            law = next((one for one in laws if (one.algorithm, one.size) == (algorithm, size)), None)
            points = of_system.get((algorithm, size), [])
            of_colours = zip(COLOURS, sorted({one.workers for one in points}), strict=False)
            for colour, workers in of_colours:
                own = sorted((p for p in points if p.workers == workers), key=lambda p: p.frames)
                axis.errorbar(
                    [p.frames for p in own], [100 * p.mean for p in own], [200 * p.deviation for p in own],
                    color=colour, marker="o", markersize=3, linestyle="", label=f"K = {workers}",
                )  # fmt: skip
                if law is not None:
                    span = np.geomspace(own[0].frames, own[-1].frames)
                    axis.plot(span, [100 * law.gap(workers, frames) for frames in span], color=colour, linewidth=0.8)
            axis.set_xscale("log")
            axis.set_xticks(ticks, [f"{frames / 1e6:.2g}" for frames in ticks], fontsize=7)
            axis.minorticks_off()
        axes[0].legend(fontsize=6)
        figure.supxlabel("frames of the training, millions", fontsize=8)
        figure.supylabel("gap in held-out loss, % (two standard errors)", fontsize=8)
        for kind in ("svg", "png"):
            with atomic_file(path.with_suffix(f".{kind}")) as temp:
                figure.savefig(temp, format=kind)


def fit(args: argparse.Namespace) -> None:
    """Write the table, the figure and the law as JSON, and print the table."""
    gaps = gaps_of(Comparison.open(args.comparison))
    laws = [fitted(of_system) for _, of_system in by_system(gaps)]
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(gaps, laws, (args.predict_workers, args.predict_frames))
    write_json(args.out / "law.json", {"gaps": list(map(asdict, gaps)), "laws": list(map(asdict, laws))})
    with atomic_file(args.out / "law.md") as temp:
        temp.write_text(text, encoding="utf-8")
    draw(gaps, laws, args.out / "law")
    print(text, end="")


def main() -> None:
    """Write the comparison's file, or fit the law to a comparison's results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("matrix", help="print the comparison's file")
    write.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS))
    write.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="LxH")
    write.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    write.add_argument("--workers", nargs="+", type=int, default=[4, 16, 32])
    write.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    law = verbs.add_parser("fit", help="fit the law to comparison.json")
    law.add_argument("comparison", type=Path)
    law.add_argument("--out", type=Path, required=True)
    law.add_argument("--predict-workers", type=int, default=32)
    law.add_argument("--predict-frames", type=float, default=1e9)  # ten epochs of 300 hours
    args = parser.parse_args()
    try:
        if args.verb == "matrix":
            print(yaml.safe_dump(matrix(args), sort_keys=False), end="")
        else:
            fit(args)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
