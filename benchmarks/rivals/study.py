"""A study of torch's own ways to train on many workers, each tuned as `asr-parallel compare` tunes ours.

    python benchmarks/rivals/study.py --frames exp/digits_plain/frames --matrix recipes/digits/conf/race.yaml \
        --out exp/digits_plain/rivals --workers 1 4 8 --seeds 1 2 3

Of the matrix it takes `options`, `tune` (trials, budget, seed; the space of `learning_rate` is that of sgd) and the
period of `average`. Trainings that are done are not trained again. It prints a table, and writes it to OUT/table.md.
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from module import OPTIMIZERS, Optimizers, Rectifiers
from train import RESULT, RIVALS, Task, train

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.clock.step_time import work_of
from asr_parallel.compare.modelled import frames_of_epoch
from asr_parallel.compare.search_space import SearchSpace, at_edge
from asr_parallel.decode.paired_difference import mean_difference
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import atomic_file, read_json

MINIBATCH_RATES = {"log": [0.0003, 0.02]}  # of adamw and muon: as wide as the race's, around Adam's default of 0.001
TIMED = 200  # minibatches, after as many that are not
NETWORKS = ("10gbe", "1gbe")


@dataclass(frozen=True)
class Contestant:
    """A rival with an optimizer and a number of workers."""

    rival: str
    optimizer: str
    workers: int

    def __str__(self) -> str:
        return f"{self.rival}-{self.optimizer}-k{self.workers}"


class Study:
    """All trainings of a study and its table.

    A training's folder has the names of its contestant and of its seed, or of a trial's learning rate.
    """

    def __init__(self, frames: Path, matrix: Path, out: Path, momentum: float) -> None:
        """Read the matrix; ValueError when it has no `tune` or no space of learning rates."""
        self._frames, self._out, self._momentum = frames, out, momentum
        self._given: dict[str, Any] = yaml.safe_load(matrix.read_text(encoding="utf-8"))
        tune = self._given.get("tune", {})
        if "learning_rate" not in tune.get("space", {}):
            raise ValueError(f"{matrix}: no tune: space: learning_rate; expected one")
        spaces = {name: tune["space"]["learning_rate"] if name == "sgd" else MINIBATCH_RATES for name in OPTIMIZERS}
        self._spaces = {
            name: SearchSpace.of({**tune, "space": {"learning_rate": rates}}) for name, rates in spaces.items()
        }
        self._store = FrameStore.open(frames)

    def run(self, contestants: Sequence[Contestant], seeds: Sequence[int]) -> list[str]:
        """Tune and train all contestants and return the lines of the table."""
        lines, losses = [], dict[Contestant, list[float]]()
        for one in contestants:
            rate, edge = self._tuned(one)
            losses[one] = [self._loss(self._task(one, rate, seed), f"{one}-s{seed}") for seed in seeds]
            alone = losses.get(replace(one, rival="ddp", workers=1))
            lines.append(self._line(one, rate, edge, losses[one], alone))
            print(lines[-1], flush=True)
        return lines

    def _task(self, one: Contestant, rate: float, seed: int, budget: float = 1.0) -> Task:
        options = dict(self._given.get("options", {}))
        options["epochs"] = max(1, round(budget * options.get("epochs", 1)))
        options.pop("combine", None)
        algorithms = self._given.get("algorithms", {})
        average = algorithms.get("average", {}) if isinstance(algorithms, dict) else {}
        return Task(
            frames=str(self._frames.resolve()), rival=one.rival, optimizer=one.optimizer, workers=one.workers,
            seed=seed, learning_rate=rate, options=options, momentum=self._momentum if one.optimizer == "sgd" else 0.0,
            **({"period": average["period"]} if "period" in average else {}),
        )  # fmt: skip

    def _tuned(self, one: Contestant) -> tuple[float, bool]:
        """Return the best learning rate of a contestant's trials, and whether it is at the edge of them."""
        space = self._spaces[one.optimizer]
        points = space.points(space.ranges(RIVALS[one.rival], "sgd", one.workers), {})
        losses = [
            self._loss(
                self._task(one, float(point["learning_rate"]), space.seed, space.budget),
                f"trials/{one}-r{point['learning_rate']}",
            )
            for point in points
        ]
        best = points[min(range(len(points)), key=lambda n: losses[n])]
        if not math.isfinite(min(losses)):
            raise ValueError(f"{one}: all trials diverged; expected a space with lower learning rates")
        return float(best["learning_rate"]), bool(at_edge(points, best))

    def _loss(self, task: Task, name: str) -> float:
        """Return the final held-out loss of a training, which is done if it is not; infinite if it diverged."""
        folder = self._out / name
        if not folder.is_dir():
            train(task, folder)
        result = read_json(folder / RESULT)
        if Task(**result["task"]) != task:
            raise ValueError(f"{folder}: of other options; expected those of this study, or a new folder")
        loss = result["held_out_loss"][-1]
        return math.inf if loss is None else float(loss)

    def _line(
        self, one: Contestant, rate: float, edge: bool, losses: Sequence[float], alone: Sequence[float] | None
    ) -> str:
        difference = "" if one.workers == 1 or alone is None else _difference(losses, alone)
        speedups = "".join(f" {speedup:.2f} |" for speedup in self._speedups(one))
        mean = sum(losses) / len(losses)
        shown = f"{rate:g}{' (edge)' * edge}"
        return f"| {one.rival} | {one.optimizer} | {one.workers} | {shown} | {mean:.4f} | {difference} |{speedups}"

    def _speedups(self, one: Contestant) -> Iterator[float]:
        """Yield the modelled speedup for equal frames on each of NETWORKS, with a minibatch's time measured here."""
        options = self._task(one, 1.0, 0).training_options
        spec = options.network_spec(self._store.dim, self._store.context, self._store.num_pdfs)
        seconds = _step_seconds(StackedNetwork(spec).initialise(0), one.optimizer, options.optimization.minibatch)
        work = work_of(spec, options.optimization.minibatch, "sgd", seconds)
        frames = frames_of_epoch(self._store, options)
        for name in NETWORKS:
            yield ModelledClock(options.workers, work, PRESETS[name], frames, constants=options.algorithm).speedup()


def _difference(losses: Sequence[float], alone: Sequence[float]) -> str:
    found = mean_difference(losses, alone)
    if found is None:
        return f"{losses[0] - alone[0]:+.4f} (one seed)"
    low, high = found.interval()
    return f"{found.difference:+.4f} ({low:+.4f} to {high:+.4f})"


def _step_seconds(network: StackedNetwork, optimizer: str, minibatch: int) -> float:
    """Return the median seconds of a minibatch of noise on one core."""
    torch.set_num_threads(1)
    module = Rectifiers(network)
    steps = Optimizers(optimizer, module)
    spliced = torch.randn(minibatch, network.spec.input_dim)
    labels = torch.randint(network.spec.num_pdfs, (minibatch,))
    taken = []
    for _ in range(2 * TIMED):
        began = time.perf_counter()
        steps.zero_grad()
        torch.nn.functional.cross_entropy(module(spliced), labels, reduction="sum").backward()
        steps.step(1e-6)
        taken.append(time.perf_counter() - began)
    return sorted(taken[TIMED:])[TIMED // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--matrix", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rivals", nargs="+", choices=tuple(RIVALS), default=list(RIVALS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--momentum", type=float, default=0.0, help="of sgd; default: %(default)s")
    given = parser.parse_args()
    contestants = [  # one worker first, whom all are compared with: with one, both rivals are the same
        Contestant("ddp" if workers == 1 else rival, optimizer, workers)
        for optimizer, workers, rival in itertools.product(given.optimizers, sorted(given.workers), given.rivals)
    ]
    try:
        study = Study(given.frames, given.matrix, given.out, given.momentum)
        lines = study.run(list(dict.fromkeys(contestants)), given.seeds)
    except ValueError as error:
        parser.error(str(error))
    head = ["rival", "optimizer", "K", "learning rate", "held-out loss", "difference from K = 1", *NETWORKS]
    table = [f"| {' | '.join(head)} |", "|---|---|--:|--:|--:|--:|--:|--:|", *lines]
    with atomic_file(given.out / "table.md") as temp:
        temp.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
