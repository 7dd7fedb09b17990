#!/usr/bin/env python3
"""Does it help workers to learn from their ensemble?

EC-DNN against model averaging (MA-DNN) and workers that never meet (E-DNN): the single workers (L) and what they are
together (G), each method at its own best period.

    python recipes/ensemble_study.py digits --exp exp/digits

A cell is an ordinary run of the recipe's stage 6, its workers replicas in one process, in an experiment folder whose
own stages 0 to 4 are done; the best periods are trained with more seeds and decoded. Cells that are there are not made
again.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from study import all_at_once, find, study_parser

from asr_parallel.clock.interconnect import PRESETS, all_reduce, broadcast
from asr_parallel.compare.collect import with_seconds

METHODS = {"average": "MA-DNN", "ensemble": "EC-DNN", "none": "E-DNN"}
WORKERS = (2, 4, 8)
PERIODS = (16, 64, 192)  # minibatches
MINIBATCH = 128
COMPRESSED = 0.4  # part of a round on pseudo-labels: as a tenth of a share is of a round of a quarter of an epoch
RATES = {"relu-renorm": 0.008, "sigmoid": 0.032}  # K = 1's, see the recipe
NETWORK = PRESETS["10gbe"]  # of the modelled machines


@dataclass(frozen=True)
class Cell:
    """One training. extra: a name for options of its own, and those."""

    method: str
    workers: int
    period: int
    nonlinearity: str = "relu-renorm"
    seed: int = 1
    epochs: int = 3
    label: str = ""
    extra: str = ""

    @property
    def name(self) -> str:
        parts = [
            self.method,
            self.workers,
            self.period,
            self.nonlinearity,
            f"s{self.seed}",
            f"e{self.epochs}",
            self.label,
        ]
        return "ensemble_" + "_".join(str(part) for part in parts if part)

    def words(self, hidden_dim: int, minibatches: int) -> list[str]:
        """Of the recipe's command line. minibatches: of all workers in an epoch."""
        rate = RATES[self.nonlinearity] / (4 if "--start" in self.extra else 1)
        more = [f"--minibatch {MINIBATCH}", "--combine 0", "--keep-workers", self.extra]
        if self.method == "ensemble":
            compressed = max(1, round(COMPRESSED * self.period))
            fraction = min(
                1.0, compressed * self.workers / minibatches * 1.05
            )  # what is labelled ends with the compression
            more += [f"--compress-minibatches {compressed}", f"--relabel-fraction {fraction:.4f}"]
        words = [
            "--stage", "6", "--stop-stage", "6", "--dnn", self.name, "--hidden-dim", str(hidden_dim), "--workers",
            str(self.workers), "--algorithm", self.method, "--epochs", str(self.epochs), "--seed", str(self.seed),
            "--nonlinearity", self.nonlinearity, "--learning-rate", f"{rate:g}", "--final-learning-rate",
            f"{rate / 20:g}", "--evaluate-frames", "250000", "--dnn-options", " ".join(filter(None, more)),
        ]  # fmt: skip
        return [*words, "--period", str(self.period)] if self.method != "none" else words


def sweep(nonlinearities: Iterable[str], periods: Iterable[int], epochs: int) -> list[Cell]:
    """One seed, all periods."""
    return [
        Cell(method, workers, period, nonlinearity, epochs=epochs)
        for nonlinearity in nonlinearities
        for workers in WORKERS
        for method in METHODS
        for period in (periods if method != "none" else (0,))
    ]


def loss(exp: Path, cell: Cell) -> dict[str, Any] | None:
    """Held-out loss and accuracy of L, best and mean, of the ensemble, and of what the method calls G."""
    kept, lines = exp / cell.name / "ensemble" / "held_out.json", exp / cell.name / "train.jsonl"
    if not kept.is_file():
        return None
    of = json.loads(kept.read_text())
    workers = [of[name] for name in of if name != "all"]
    last = [line for line in map(json.loads, lines.read_text().splitlines()) if line["kind"] == "held-out"][-1]
    return {
        "best": min(one["loss"] for one in workers),
        "mean": mean(one["loss"] for one in workers),
        "all": of["all"]["loss"],
        "G": last["loss"] if cell.method == "average" else of["all"]["loss"],
        "accuracy L": 100 * mean(one["accuracy"] for one in workers),
        "accuracy G": 100 * (last["accuracy"] if cell.method == "average" else of["all"]["accuracy"]),
    }


def best(exp: Path, cells: Iterable[Cell]) -> list[Cell]:
    """Of each method, number of workers and non-linearity the period with the least mean loss of L."""
    found: dict[tuple, tuple[float, Cell]] = {}
    for cell in cells:
        numbers = loss(exp, cell)
        key = (cell.nonlinearity, cell.workers, cell.method)
        if numbers is not None and numbers["mean"] < found.get(key, (math.inf, cell))[0]:
            found[key] = (numbers["mean"], cell)
    return [cell for _, cell in found.values()]


def trained_seconds(record: Path) -> float:
    """Without evaluations and the like."""
    *_, (_, seconds) = with_seconds(map(json.loads, record.read_text().splitlines()))
    return seconds


def seconds_a_frame(exp: Path, nonlinearity: str) -> float:
    """Of training, in the fastest of all trainings: others had to share the machine's memory with more."""
    found = []
    for record in exp.glob(f"ensemble_none_*_{nonlinearity}_s1_e[0-9]/train.jsonl"):
        frames = json.loads(record.read_text().splitlines()[-1])["frames"]
        found.append(trained_seconds(record) / frames)
    return min(found)


def modelled_seconds(exp: Path, cell: Cell) -> float:
    """Of K machines, each like this core: training, labelling (as part of the training it took in this very run), and
    messages as the modelled network takes them, which nothing hides.
    """
    told = json.loads((exp / cell.name / "sync_stats.json").read_text())
    parameters = (exp / cell.name / "net.safetensors").stat().st_size
    frames = json.loads((exp / cell.name / "train.jsonl").read_text().splitlines()[-1])["frames"]
    work = seconds_a_frame(exp, cell.nonlinearity) * frames / cell.workers
    if cell.method == "none":
        return work
    meetings = told["meetings"]
    if cell.method == "average":
        return work + meetings * all_reduce(NETWORK, cell.workers, parameters)
    phases = told["ranks"][0]["phases"]
    labelling = phases["label"] / (phases["local"] + phases["compress"])
    return work * (1 + labelling) + meetings * cell.workers * broadcast(NETWORK, cell.workers, parameters)


def at_time(exp: Path, cell: Cell, seconds: float) -> dict[str, float]:
    """Held-out loss of L (mean) and G after so much modelled time, between two evaluations on a straight line.

    The learning rate is then not yet at its end, but where the time is that of the whole training.
    """
    lines = [json.loads(line) for line in (exp / cell.name / "train.jsonl").read_text().splitlines()]
    course = [line for line in lines if line["kind"] == "held-out"]
    frames = seconds / modelled_seconds(exp, cell) * course[-1]["frames"]
    after = next((line for line in course if line["frames"] >= frames), course[-1])
    before = course[max(0, course.index(after) - 1)]
    part = min(1.0, (frames - before["frames"]) / max(1, after["frames"] - before["frames"]))

    def between(of: Callable[[dict], float]) -> float:
        return of(before) + part * (of(after) - of(before))

    together = "loss" if cell.method == "average" else "ensemble_loss"
    return {"L": between(lambda line: mean(line["workers_loss"])), "G": between(lambda line: line[together])}


def compressions(exp: Path, cell: Cell) -> list[Cell]:
    """An epoch more by averaging, from what a method has delivered: towards its ensemble, and by the labels alone."""
    start, teacher = exp / cell.name, exp / cell.name / "ensemble"
    more = Cell("average", cell.workers, 16, epochs=1, label=f"after_{cell.method}")
    return [
        replace(more, label=f"{more.label}_alone", extra=f"--start {start}"),
        replace(more, label=f"{more.label}_towards", extra=f"--start {start} --teacher {teacher}"),
    ]


def table_of_last(exp: Path, cells: list[Cell]) -> None:
    print("| after | held-out loss | frames right | eval WER |\n|---|--:|--:|--:|")
    for cell in cells:
        if (exp / cell.name / "train.jsonl").is_file():
            of = find(exp, cell.name)
            print(f"| {cell.label} | {of.course[-1][1]:.3f} | {of.accuracy:.1f} % | {of.eval:.2f} |")


def spread(values: list[float], digits: int) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else ""
    return f"{mean(values):.{digits}f} ({stdev(values):.{digits}f})"


def decode_words(cell: Cell, exp: Path, worker: int | None, options: str) -> list[str]:
    """Of the recipe's stage 7: of what was delivered and the ensemble, or of one worker."""
    words = ["--stage", "7", "--stop-stage", "7", "--systems", "dnn", "--decode-options", options]
    if worker is None:
        return [*words, "--dnn", cell.name]
    return [*words, "--dnn", f"{cell.name}_w{worker}", "--model", str(exp / cell.name / "ensemble" / str(worker))]


def table(exp: Path, cells: list[Cell], seeds: int) -> None:
    """Means over seeds, and deviations in parentheses."""
    print(
        "| | K | method | tau | L best | L mean | G | all together | frames right L | G |"
        " eval WER L best | L mean | G | all together | modelled s | then L mean | G |\n|---|--:|---|--:|" + "--:|" * 13
    )
    for cell in cells:
        done = [replace(cell, seed=seed) for seed in range(1, seeds + 1)]
        found = [(one, numbers) for one in done if (numbers := loss(exp, one)) is not None]
        if not found:
            continue
        of = {name: spread([numbers[name] for _, numbers in found], 1 if "acc" in name else 3) for name in found[0][1]}
        wer: dict[str, list[float]] = {"best": [], "mean": [], "G": [], "all": []}
        for one, _ in found:
            singles = [find_wer(exp, f"{one.name}_w{worker}") for worker in range(one.workers)]
            delivered, together = find_wer(exp, one.name), find_wer(exp, f"{one.name}_ensemble")
            of_best = delivered if one.method == "ensemble" else singles[best_worker(exp, one)]
            for name, value in {
                "best": of_best, "mean": mean(singles), "all": together,
                "G": delivered if one.method == "average" else together,
            }.items():  # fmt: skip
                if not math.isnan(value):
                    wer[name].append(value)
        seconds = mean(modelled_seconds(exp, one) for one, _ in found)
        alike = [one for one in cells if replace(one, method=cell.method, period=cell.period) == cell]
        least = min(modelled_seconds(exp, one) for one in alike if loss(exp, one) is not None)
        then = [at_time(exp, one, least) for one, _ in found]
        print(
            f"| {cell.nonlinearity} | {cell.workers} | {METHODS[cell.method]} {cell.label} | {cell.period or ''} |"
            f" {of['best']} | {of['mean']} | {of['G']} | {of['all']} | {of['accuracy L']} | {of['accuracy G']} |"
            f" {spread(wer['best'], 2)} | {spread(wer['mean'], 2)} | {spread(wer['G'], 2)} | {spread(wer['all'], 2)} |"
            f" {seconds:.1f} | {mean(one['L'] for one in then):.3f} | {mean(one['G'] for one in then):.3f} |"
        )


def best_worker(exp: Path, cell: Cell) -> int:
    of = json.loads((exp / cell.name / "ensemble" / "held_out.json").read_text())
    return int(min((name for name in of if name != "all"), key=lambda name: of[name]["loss"]))


def find_wer(exp: Path, name: str) -> float:
    path = exp / name / "decode_eval" / "best_wer"
    return float(path.read_text().split()[1]) if path.is_file() else math.nan


def sweep_table(exp: Path, cells: list[Cell]) -> None:
    print("| | K | method | tau | L best | L mean | G | all together |\n|---|--:|---|--:|--:|--:|--:|--:|")
    for cell in cells:
        numbers = loss(exp, cell)
        if numbers is not None:
            print(
                f"| {cell.nonlinearity} | {cell.workers} | {METHODS[cell.method]} | {cell.period or ''} | "
                + " | ".join(f"{numbers[name]:.3f}" for name in ("best", "mean", "G", "all"))
                + " |"
            )


def main() -> None:
    parser = study_parser(__doc__, "stages 0 to 4")
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--periods", nargs="+", type=int, default=list(PERIODS))
    parser.add_argument("--nonlinearities", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--best-only", action="store_true", help="of the workers decode the best alone")
    parser.add_argument("--decode-options", default="", metavar="WORDS", help="of the recipe's stage 7")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the courses of four workers, .png or .svg")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    args = parser.parse_args()
    exp = args.exp.resolve()
    index = json.loads((exp / "frames" / "index.json").read_text())
    minibatches = int(0.9 * sum(index["frames"]) / MINIBATCH)

    def make(cells: Iterable[Cell]) -> None:
        if not args.table:
            all_at_once([cell.words(args.hidden_dim, minibatches) for cell in cells], args.recipe, exp)

    def decode(cells: Iterable[Cell]) -> None:
        """What was delivered, the ensemble, and the best worker; of the first seed every worker."""
        if not args.table:
            jobs = [decode_words(cell, exp, None, args.decode_options) for cell in cells]
            for cell in cells:
                every = cell.seed == 1 and not args.best_only
                best_one = [best_worker(exp, cell)] if cell.method != "ensemble" else []  # which delivers it
                workers = range(cell.workers) if every else best_one
                jobs += [decode_words(cell, exp, worker, args.decode_options) for worker in workers]
            all_at_once(jobs, args.recipe, exp)

    swept = sweep(args.nonlinearities, args.periods, args.epochs)
    make(swept)
    chosen = best(exp, swept)
    four = [cell for cell in chosen if cell.workers == 4 and cell.nonlinearity == "relu-renorm"]
    hard = [replace(cell, label="init", extra="--initial own") for cell in four]
    hard += [replace(cell, label="speakers", extra="--share-by speaker") for cell in four]
    hard += [replace(cell, epochs=cell.epochs - 1, label="less") for cell in four if cell.method == "ensemble"]
    last = [one for cell in four for one in compressions(exp, cell)]

    def again(nonlinearity: str) -> list[Cell]:
        own = [cell for cell in chosen if cell.nonlinearity == nonlinearity]
        return [replace(cell, seed=seed) for cell in own for seed in range(1, args.seeds + 1)]

    for cells in (again("relu-renorm"), hard, last, again("sigmoid")):  # in order of interest
        make(cells)
        decode(cells)
    sweep_table(exp, swept)
    print()
    table(exp, chosen, args.seeds)
    print()
    table(exp, hard, 1)
    print()
    table_of_last(exp, last)
    if args.plot is not None:
        from ensemble_plot import draw

        draw(exp, four, args.plot)


if __name__ == "__main__":
    sys.exit(main())
