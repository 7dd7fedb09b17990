"""The band of reference convergence: recorded by a comparison, checked by the single worker alone."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest

from asr_parallel.compare.band import Band, band_of, check_band
from asr_parallel.compare.jobs import Experiment
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.run_jobs import Job, Watch
from asr_parallel.features.frames import FrameStore
from asr_parallel.report.comparison import Cell, Comparison, Evaluation, ModelledTime

SEEDS, BUDGETS = (1, 2, 3, 4, 5), (0.5, 1.0, 2.0)
TEXT = f"""
workers: [2]
seeds: {list(SEEDS)}
algorithms: [average]
optimizers: {{sgd: {{learning_rate: 0.01}}}}
options: {{epochs: 2, hidden_dim: 8}}
budgets: {list(BUDGETS)}
target: {{}}
"""


def read(folder: Path, text: str = TEXT) -> Matrix:
    (folder / "compare.yaml").write_text(text)
    return Matrix.read(folder / "compare.yaml")


def loss_of(seed: int, budget: float) -> float:
    """A loss that falls by 0.2 with every doubling of the frames, spread over the seeds."""
    return 2 - 0.2 * math.log2(budget) + 0.01 * (seed - 3)


def comparison(of: Matrix) -> Comparison:
    cells = []
    for one in of.trainings:
        loss, frames = loss_of(one.seed, one.budget) - 0.5 * (one.workers > 1), round(1000 * one.budget)
        cells.append(
            Cell(
                one.name, one.algorithm, one.workers, one.optimizer, one.seed, "done", budget=one.budget, frames=frames,
                learning_curve=(Evaluation(frames, loss),), modelled=ModelledTime(float(frames)),
            )
        )  # fmt: skip
    return Comparison("t", "c", "", tuple(cells), target=of.target)


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return read(tmp_path)


@pytest.fixture
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


class Trained:
    """An executor whose trainings end with losses that a test gives."""

    at_once = 1

    def __init__(self, worse: float, spread: float = 1.0) -> None:
        self.worse, self.spread = worse, spread
        self.names: list[str] = []

    def run(self, jobs: Sequence[Job], watch: Watch) -> list[str]:
        for job in jobs:
            self.names.append(job.name)
            seed = int(job.name.rpartition("_s")[2])
            budget = float(job.name.rpartition("_x")[2].partition("_")[0]) if "_x" in job.name else 1.0
            loss = 2 + self.spread * (loss_of(seed, budget) - 2) + self.worse
            assert [verb[0] for verb in job.verbs] == ["train-dnn"]  # nothing is decoded
            job.out.mkdir(parents=True)
            line = {"kind": "held-out", "frames": round(1000 * budget), "loss": loss, "accuracy": 0.5, "accepted": True}
            (job.out / "train.jsonl").write_text(json.dumps(line) + "\n")
        return []


def check(band: Band, of: Matrix, folder: Path, store: FrameStore, executor: Trained) -> tuple[bool, str]:
    return check_band(band, of, Experiment(folder), folder / "out", store, executor)


def test_the_frames_of_every_seed_to_the_median_loss(matrix: Matrix) -> None:
    band = band_of(comparison(matrix), matrix)
    assert (band.contestant, band.loss) == ("none_1_sgd", 2.0)
    assert band.frames == pytest.approx({str(seed): 1000 * 2 ** (0.05 * (seed - 3)) for seed in SEEDS})
    assert band.options["learning_rate"] == 0.01 and not {"seed", "epochs"} & band.options.keys()


def test_what_is_written_is_read(matrix: Matrix, tmp_path: Path) -> None:
    band = band_of(comparison(matrix), matrix)
    band.write(tmp_path / "band.json")
    assert Band.read(tmp_path / "band.json") == band
    with pytest.raises(ValueError, match="nowhere: is not there; expected a file that compare --record-band wrote"):
        Band.read(tmp_path / "nowhere")


def test_the_same_trainings_lie_in_the_band_and_only_single_workers_are_trained(
    matrix: Matrix, tmp_path: Path, store: FrameStore
) -> None:
    executor = Trained(0.0)
    inside, said = check(band_of(comparison(matrix), matrix), matrix, tmp_path, store, executor)
    assert inside and "1,000" in said
    assert len(executor.names) == len(SEEDS) * len(BUDGETS) and all("none_1" in name for name in executor.names)


@pytest.mark.parametrize("worse", [0.1, -0.1])
def test_who_learns_slower_or_faster_lies_outside(
    matrix: Matrix, tmp_path: Path, store: FrameStore, worse: float
) -> None:
    inside, said = check(band_of(comparison(matrix), matrix), matrix, tmp_path, store, Trained(worse))
    assert not inside and "outside" in said


def test_who_never_comes_to_the_loss_lies_outside(matrix: Matrix, tmp_path: Path, store: FrameStore) -> None:
    inside, said = check(band_of(comparison(matrix), matrix), matrix, tmp_path, store, Trained(1.0))
    assert not inside and "never" in said


def test_the_limits_are_those_of_a_new_mean() -> None:
    """Student's t of four degrees of freedom, by hand."""
    frames = {str(n): math.exp(7 + 0.1 * n) for n in (-2, -1, 0, 1, 2)}
    low, high = Band("a", 1.0, frames, {}, {}).limits(seeds=5)
    half = 2.7764451 * statistics.stdev([-0.2, -0.1, 0, 0.1, 0.2]) * math.sqrt(2 / 5)
    assert (math.log(low), math.log(high)) == pytest.approx((7 - half, 7 + half))
    alike = Band("a", 1.0, dict.fromkeys("abc", 1000.0), {}, {}).limits(seeds=5)
    assert alike == pytest.approx((1000 * math.exp(-0.02), 1000 * math.exp(0.02)))


def test_other_options_are_refused(matrix: Matrix, tmp_path: Path, store: FrameStore) -> None:
    band = band_of(comparison(matrix), matrix)
    other = read(tmp_path, TEXT.replace("hidden_dim: 8", "hidden_dim: 16"))
    with pytest.raises(ValueError, match="hidden_dim 16, and 8 in the band"):
        check(band, other, tmp_path, store, Trained(0.0))
    with pytest.raises(ValueError, match="the comparison has no none_1_sgd"):
        check(band, read(tmp_path, TEXT.replace("{sgd: ", "{nesterov: ")), tmp_path, store, Trained(0.0))


def test_tuned_rates_are_those_of_the_band(tmp_path: Path, store: FrameStore) -> None:
    tune = "tune: {trials: 2, budget: 0.5, space: {learning_rate: {log: [0.001, 0.1]}}}\n"
    of = read(tmp_path, TEXT + tune)
    tuned = of.tuned({"none_1_sgd": {"learning_rate": 0.05}})
    band = band_of(comparison(tuned), tuned)
    assert band.options["learning_rate"] == 0.05
    assert check(band, of, tmp_path, store, Trained(0.0))[0]


def test_no_band_without_a_target_or_where_a_seed_has_not_come_to_it(tmp_path: Path) -> None:
    without = read(tmp_path, TEXT.replace("target: {}", ""))
    with pytest.raises(ValueError, match="no band without a target"):
        band_of(comparison(without), without)
    short = read(tmp_path, TEXT.replace("[0.5, 1.0, 2.0]", "[0.5, 1.0]"))
    with pytest.raises(ValueError, match=r"seeds 4, 5 have not come to loss .*; expected a larger"):
        band_of(comparison(short), short)
