#!/usr/bin/env python3
"""What do workers cost? Algorithms x numbers of workers, each trained on the same number of frames, and a table.

    python recipes/parallel_study.py swbd --exp exp/swbd

A cell is an ordinary run of the recipe's stages 6 and 7, its workers replicas in one process, in an experiment folder
whose own stages 0 to 4 are done. Cells that are there are not made again; every core runs one at a time.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from study import all_at_once, find, study_parser

FIXED = "--minibatch 128 --combine 0"  # so small that 16 workers have many minibatches each
# Each algorithm's own options, in both studies
OPTIONS = {
    "average": "",
    "block-momentum": "",
    "elastic": "",
    "gradient": "",
    "colearn": "--share-by utterance",
    "none": "",
}
# Of co-learning: cyclical learning rate, doubled epochs; a threshold that doubles them at once, in so short a training
ABLATION = {
    "neither": "--schedule exponential --colearn-threshold 0",
    "rate": "--colearn-threshold 0",
    "epochs": "--schedule exponential --colearn-threshold 1",
    "both": "--colearn-threshold 1",
}


@dataclass(frozen=True)
class Cell:
    """One training. more: options of train-dnn; minibatches 0: the algorithm's own period."""

    algorithm: str
    workers: int
    optimizer: str = "ng-sgd"
    period: int = 0
    label: str = ""
    more: str = ""

    @property
    def name(self) -> str:
        parts = [self.algorithm, str(self.workers), self.optimizer, str(self.period or ""), self.label]
        return "workers_" + "_".join(part for part in parts if part)

    def words(self, common: list[str], nesterov_rate: float) -> list[str]:
        """Of the recipe's command line."""
        more = " ".join(part for part in (FIXED, OPTIONS[self.algorithm], self.more) if part)
        words = ["--stage", "6", "--stop-stage", "7", "--systems", "dnn", "--dnn", self.name, *common]
        if self.optimizer == "nesterov":
            words += ["--learning-rate", f"{nesterov_rate:g}", "--final-learning-rate", f"{nesterov_rate / 10:g}"]
        words += ["--workers", str(self.workers), "--algorithm", self.algorithm, "--optimizer", self.optimizer]
        return [*words, *(["--period", str(self.period)] if self.period else []), "--dnn-options", more]


def cells() -> dict[str, list[Cell]]:
    """By table."""
    several = [4, 16]
    algorithms = [Cell(name, k) for k in several for name in OPTIONS]
    plain = [Cell(name, k, "sgd") for k in several for name in ("average", "gradient")]
    sweep = [Cell("average", 8, period=period) for period in (1, 16, 256)]
    ablation = [Cell("colearn", 4, label=label, more=more) for label, more in ABLATION.items()]
    one = [Cell("none", 1), Cell("none", 1, "sgd")]
    plain_momentum = "--nonlinearity relu --momentum 0.99"
    momentum = [Cell("elastic", k, "nesterov", label="eamsgd", more=plain_momentum) for k in several]
    return {"algorithms": [*one, *algorithms, *plain, *momentum], "period": sweep, "colearn": ablation}


def table(exp: Path, of: list[Cell]) -> None:
    print("| workers | algorithm | optimiser | period | | held-out loss | frames right | WER dev | WER eval |")
    print("|--:|---|---|--:|---|--:|--:|--:|--:|")
    for cell in of:
        row = f"| {cell.workers} | {cell.algorithm} | {cell.optimizer} | {cell.period or ''} | {cell.label} |"
        if not (exp / cell.name / "train.jsonl").is_file():
            if (exp / f"{cell.name}.training").is_dir():
                print(f"{row} diverged or stopped | | | |")
            continue
        found = find(exp, cell.name)
        print(f"{row} {found.course[-1][1]:.3f} | {found.accuracy:.1f} % | {found.dev:.2f} | {found.eval:.2f} |")


def main() -> None:
    parser = study_parser(__doc__, "stages 0 to 4")
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate-nesterov", type=float, default=0.001, help="EAMSGD's (default: %(default)s)")
    parser.add_argument("--tables", default="algorithms,period,colearn", help="of these (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    args = parser.parse_args()
    exp, chosen = args.exp.resolve(), [cells()[name] for name in args.tables.split(",")]
    common = ["--hidden-dim", str(args.hidden_dim), "--epochs", str(args.epochs), "--seed", str(args.seed)]
    if not args.table:
        all_at_once([cell.words(common, args.rate_nesterov) for of in chosen for cell in of], args.recipe, exp)
    for of in chosen:
        table(exp, of)
        print()


if __name__ == "__main__":
    sys.exit(main())
