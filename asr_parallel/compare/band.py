"""The band of reference convergence: frames that a single worker needs to a held-out loss, over seeds.

A comparison records it (--record-band); another machine or version checks that it trains alike (--check), by the single
worker alone and without decoding. It is the reference convergence point of MLPerf, with its spread over seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_parallel.compare.jobs import Experiment, training_job
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.outcome import final_loss, held_out_of
from asr_parallel.compare.run_jobs import Executor
from asr_parallel.compare.search_space import RATIO
from asr_parallel.compare.trials import ONCE_AN_EPOCH, expected_of
from asr_parallel.compare.watch import JobWatch
from asr_parallel.features.frames import FrameStore
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.from_json import from_json
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.target import contestants_by_name, goals, time_to
from asr_parallel.training.train_lines import LINES
from asr_parallel.training.train_options import config_identity

CONFIDENCE = 0.95
LEAST_SPREAD = 0.02  # of frames, relative; ours: rounding differs between processors, which seeds do not show

Point = tuple[float, float | None]
"""Frames of a training and its held-out loss."""


@dataclass(frozen=True)
class Band:
    """Frames to a held-out loss.

    Attributes:
        contestant: the single worker's name in the matrix.
        loss: to come to, nats a frame.
        frames: trained on until then, by seed.
        options: of train-dnn, seed and epochs left out.
        made_by: machine and versions, for display.
    """

    contestant: str
    loss: float
    frames: dict[str, float]
    options: dict[str, Any]
    made_by: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Band":
        """Read a file that `write` wrote; ValueError with one line that says what does not fit."""
        if not path.is_file():
            raise ValueError(f"{path}: is not there; expected a file that compare --record-band wrote")
        band: Band = from_json(cls, read_json(path), str(path))
        return band

    def write(self, path: Path) -> None:
        """Write the band as JSON, whole or not at all."""
        write_json(path, asdict(self))

    def limits(self, seeds: int) -> tuple[float, float]:
        """Return the frames between which the geometric mean of so many new seeds lies with 95 % confidence."""
        from scipy.special import stdtrit

        logs = [math.log(frames) for frames in self.frames.values()]
        spread = statistics.stdev(logs) * math.sqrt(1 / len(logs) + 1 / seeds)
        width = max(float(stdtrit(len(logs) - 1, (1 + CONFIDENCE) / 2)) * spread, LEAST_SPREAD)
        middle = statistics.fmean(logs)
        return math.exp(middle - width), math.exp(middle + width)


def band_of(comparison: Comparison, matrix: Matrix) -> Band:
    """Return the band of the single worker that set the target; ValueError where a seed has not come to it."""
    found = [goal for goal in goals(comparison) if goal.kind == "loss"]
    if not found:
        raise ValueError("no band without a target: expected budgets and target in the comparison's file")
    (goal,) = found
    cells = contestants_by_name(comparison)[goal.set_by]
    training = next(one for one in matrix.trainings if one.name == cells[0].name)
    ladders: dict[int, list[Point]] = {}
    for cell in cells:
        if cell.status == "done":
            ladders.setdefault(cell.seed, []).append((float(cell.frames or 0), cell.learning_curve[-1].loss))
    frames = _frames_to(ladders, goal.value)
    if lost := [str(seed) for seed, number in frames.items() if math.isinf(number)]:
        raise ValueError(
            f"no band: seeds {', '.join(lost)} have not come to loss {goal.value:.4f}; expected a larger budget"
        )
    versions = {name: comparison.versions.get(name) for name in ("asr_parallel", "revision", "torch")}
    by_seed = {str(seed): number for seed, number in frames.items()}
    return Band(training.contestant, goal.value, by_seed, _identity(training), comparison.hardware | versions)


def check_band(
    band: Band, matrix: Matrix, experiment: Experiment, out: Path, store: FrameStore, executor: Executor
) -> tuple[bool, str]:
    """Train the single worker of a band, and return whether it lies in the band, and a line that says so.

    Args:
        matrix: the comparison's, of which the single worker's seeds and budgets are trained.
        out: folder of the trainings; those that are done are not trained again.

    Raises:
        ValueError: the matrix has no such single worker, or with other options; or a training failed.
    """
    trials = matrix.trials().get(band.contestant, [])
    tuned = {name.removesuffix(RATIO) for values, _ in trials for name in values}
    chosen = {name: band.options[name] for name in tuned & band.options.keys()}
    trainings = [one for one in matrix.tuned({band.contestant: chosen}).trainings if one.contestant == band.contestant]
    if not trainings:
        raise ValueError(f"the comparison has no {band.contestant}; expected that of the band")
    own = _identity(trainings[0])
    for name in sorted(own.keys() | band.options.keys()):
        if own.get(name) != band.options.get(name):
            raise ValueError(f"{name} {own.get(name)}, and {band.options.get(name)} in the band; expected the same")
    jobs = [training_job(one, matrix, experiment, out, ONCE_AN_EPOCH) for one in trainings]
    expected = expected_of(trainings, store)
    failed = executor.run(jobs, JobWatch("reference convergence", jobs, expected, executor.at_once))
    if failed:
        raise ValueError(f"{len(failed)} of {len(jobs)} trainings failed: {', '.join(failed)}; see {out / 'logs'}")
    ladders: dict[int, list[Point]] = {}
    for one in trainings:
        lines = read_json_lines(out / one.name / LINES)
        point = float(lines[-1]["frames"]), final_loss(one, held_out_of(one), lines)
        ladders.setdefault(one.seed, []).append(point)
    frames = _frames_to(ladders, band.loss)
    low, high = band.limits(len(frames))
    mean = math.exp(statistics.fmean(math.log(number) for number in frames.values()))
    inside = low <= mean <= high
    shown = f"{mean:,.0f}" if math.isfinite(mean) else "never, with some seed"
    where = "inside" if inside else "outside"
    return inside, (
        f"frames to held-out loss {band.loss:.4f}: {shown} ({len(frames)} seeds); {where} of the band from {low:,.0f}"
        f" to {high:,.0f} ({len(band.frames)} seeds)"
    )


def _frames_to(ladders: Mapping[int, Sequence[Point]], loss: float) -> dict[int, float]:
    """Return the frames to a loss by seed, interpolated between completed trainings; infinite: never."""
    return {
        seed: time_to([(frames, math.inf if value is None else value) for frames, value in sorted(points)], loss)
        for seed, points in ladders.items()
    }


def _identity(training: Training) -> dict[str, Any]:
    """Return the options that decide how a single worker learns, but for its seed and its number of epochs."""
    options = config_identity(training.training_options)
    return {name: value for name, value in options.items() if name not in ("seed", "epochs") and value is not None}
