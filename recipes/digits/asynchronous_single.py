"""The asynchronous algorithms with one worker (MSGD, ASGD, MVASGD, EASGD and its center), tuned as in asynchronous.py.

    python recipes/digits/asynchronous_single.py exp/digits_plain/frames exp/digits_plain/asynchronous_single

`asr-parallel compare` has one training of a single worker for all algorithms, which these are compared with here. It
prints a table; what is trained already is not trained again.
"""

import argparse
import subprocess
from pathlib import Path

from asynchronous import OPTIONS, TUNE, paired

from asr_parallel.compare.search_space import SearchSpace
from asr_parallel.record.json_lines import read_json_lines

SEEDS = (1, 2, 3)
MOMENTUM = 0.99  # of Nesterov's; section 5 of the paper: delta
# Name: algorithm, optimizer, period
CONTESTANTS: dict[str, tuple[str, str, int]] = {
    "SGD": ("none", "sgd", 1),
    "Nesterov": ("none", "nesterov", 1),
    "MSGD": ("mdownpour", "sgd", 1),
    "ASGD": ("adownpour", "sgd", 1),
    "MVASGD": ("mvadownpour", "sgd", 1),
    "EASGD, tau 1": ("async-elastic", "sgd", 1),
    "EASGD, tau 16": ("async-elastic", "sgd", 16),
    "EAMSGD, tau 1": ("async-elastic", "nesterov", 1),
    "EAMSGD, tau 16": ("async-elastic", "nesterov", 16),
}


def held_out_loss(frames: Path, out: Path, name: str, rate: float, seed: int, epochs: int) -> float:
    """Train, unless that is done, and return the held-out loss at the end."""
    algorithm, optimizer, period = CONTESTANTS[name]
    options = OPTIONS | {"epochs": epochs, "learning_rate": rate, "seed": seed, "optimizer": optimizer}
    options |= {"algorithm": algorithm, "workers": 1}
    if optimizer == "nesterov":
        options["momentum"] = MOMENTUM
    if algorithm not in ("none", "mdownpour"):
        options["period"] = period
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    folder = out / f"{name.replace(', ', '_').replace(' ', '-')}_{rate:g}_{epochs}_s{seed}"
    command = ["asr-parallel", "train-dnn", "--frames", str(frames), "--out", str(folder), *words]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    lines = [line for line in read_json_lines(folder / "train.jsonl") if line["kind"] == "held-out"]
    return float(lines[-1]["loss"])


def main() -> None:
    """Tune and train all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    space = SearchSpace.of(TUNE)
    rates = [float(point["learning_rate"]) for point in space.points(space.ranges("none", "sgd", 1), {})]
    losses: dict[str, list[float]] = {}
    print("| algorithm, K = 1 | rate | held-out loss | less SGD's | less Nesterov's |\n|---|--:|--:|--:|--:|")
    for name in CONTESTANTS:
        trials = {rate: held_out_loss(args.frames, args.out, name, rate, space.seed, 1) for rate in rates}
        best = min(trials, key=trials.__getitem__)
        losses[name] = [held_out_loss(args.frames, args.out, name, best, seed, OPTIONS["epochs"]) for seed in SEEDS]
        mean = sum(losses[name]) / len(SEEDS)
        beside = [paired(list(zip(losses[name], losses.get(base, ()), strict=False))) for base in ("SGD", "Nesterov")]
        print(f"| {name} | {best:g} | {mean:.4f} | {' | '.join(beside)} |", flush=True)


if __name__ == "__main__":
    main()
