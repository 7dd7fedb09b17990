"""What studies share: many trainings in one experiment folder, a core each, and what they came to."""

import argparse
import json
import math
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from asr_parallel.compare.collect import reached
from asr_parallel.training.divergence import DIVERGED

RECIPES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Found:
    """What a training came to: held-out loss and accuracy by frames, and word error rates in percent."""

    course: list[tuple[int, float]]
    accuracy: float
    dev: float
    eval: float

    def frames_to(self, loss: float) -> float | None:
        """Frames until the held-out loss was as low, between two evaluations on a straight line; None: never."""
        return reached(self.course, loss)


def study_parser(description: str | None, done: str) -> argparse.ArgumentParser:
    """For a study of a recipe, in an experiment folder where the stages of `done` are; each study adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(path.parent.name for path in RECIPES.glob("*/run.sh")))
    parser.add_argument("--exp", type=Path, required=True, help=f"experiment folder of the recipe, {done} done")
    return parser


def run(recipe: str, exp: Path, core: int, *words: str) -> None:
    """A stretch of the recipe on one core; SystemExit with its last words when it fails, but for one that diverged."""
    command = ["taskset", "-c", str(core), str(RECIPES / recipe / "run.sh"), "--exp", str(exp), "--jobs", "1", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if DIVERGED in done.stderr:
        print(done.stderr.splitlines()[-1], flush=True)
        return
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: failed\n{done.stderr[-2000:]}")
    print(" ".join(words), flush=True)


def all_at_once(jobs: Sequence[Sequence[str]], recipe: str, exp: Path) -> None:
    """Stretches of the recipe, each on a core of its own, as many at a time as there are cores."""
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)

    def one(words: Sequence[str]) -> None:
        core = cores.get()
        try:
            run(recipe, exp, core, *words)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        list(pool.map(one, jobs))


def find(exp: Path, name: str) -> Found:
    """Return the figures of the network in EXP/NAME; NaN where it was not decoded. SystemExit where there is none."""
    if not (exp / name / "train.jsonl").is_file():
        raise SystemExit(f"{exp / name}: no trained network; it may have diverged")
    lines = [json.loads(line) for line in (exp / name / "train.jsonl").read_text().splitlines()]
    held_out = [line for line in lines if line["kind"] == "held-out"]
    scored = [exp / name / f"decode_{of}" / "best_wer" for of in ("dev", "eval")]
    wer = [float(path.read_text().split()[1]) if path.is_file() else math.nan for path in scored]
    course = [(line["frames"], line["loss"]) for line in held_out]
    return Found(course, 100 * held_out[-1]["accuracy"], *wer)
