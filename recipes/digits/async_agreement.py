"""Compare simulated asynchronous workers with real ones: held-out losses of two workers, seed by seed.

    ./run.sh --recipe digits --corpus DIR --lists recipes/digits/lists --augment false --exp EXP --stop-stage 4
    python recipes/digits/async_agreement.py EXP/frames OUT

Every training runs twice: in one process, which simulates two equally fast workers, and as two processes with a server.
The last line of each algorithm is the mean difference of the final held-out losses, real minus simulated, with the 95 %
interval of a paired t test over seeds. What is trained already is not trained again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training.train_lines import HELD_OUT, LINES

KINDS = {"simulated": 1, "real": 2}  # processes
OPTIONS = (
    "--optimizer", "sgd", "--learning-rate", "0.002", "--final-learning-rate", "0.0002", "--hidden-layers", "2",
    "--hidden-dim", "128", "--epochs", "1", "--minibatch", "128", "--combine", "0", "--threads", "1",
)  # fmt: skip


def final_loss(frames: Path, out: Path, algorithm: str, period: int, seed: int, processes: int) -> float:
    """Train, unless that is done, and return the loss of the final model on held-out speakers, a frame."""
    of_algorithm = () if algorithm == "mdownpour" else ("--period", str(period))
    words = (
        "train-dnn", "--frames", str(frames), "--out", str(out), "--workers", "2", "--processes", str(processes),
        "--algorithm", algorithm, *of_algorithm, "--seed", str(seed), *OPTIONS,
    )  # fmt: skip
    subprocess.run([sys.executable, "-m", "asr_parallel.cli.main", *words], check=True)
    lines = [line for line in read_json_lines(out / LINES) if line["kind"] == HELD_OUT]
    return float(lines[-1]["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="frame store")
    parser.add_argument("out", type=Path, help="folder for the trainings")
    parser.add_argument("--algorithms", nargs="+", default=["async-elastic", "downpour"], help="default: %(default)s")
    parser.add_argument("--period", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    args = parser.parse_args()
    print("| algorithm | seed | simulated | real |\n|---|--:|--:|--:|")
    for algorithm in args.algorithms:
        losses = np.zeros((args.seeds, len(KINDS)))
        for n, seed in enumerate(range(1, args.seeds + 1)):
            for k, (kind, processes) in enumerate(KINDS.items()):
                out = args.out / f"{algorithm}_{args.period}_{kind}_s{seed}"
                losses[n, k] = final_loss(args.frames, out, algorithm, args.period, seed, processes)
            print(f"| {algorithm} | {seed} | {losses[n, 0]:.4f} | {losses[n, 1]:.4f} |", flush=True)
        difference = losses[:, 1] - losses[:, 0]
        half = stats.t.ppf(0.975, args.seeds - 1) * difference.std(ddof=1) / np.sqrt(args.seeds)
        means = losses.mean(axis=0)
        print(
            f"| {algorithm} | mean | {means[0]:.4f} | {means[1]:.4f}, difference {difference.mean():+.4f}"
            f" ({difference.mean() - half:+.4f} to {difference.mean() + half:+.4f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
