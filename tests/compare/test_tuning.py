"""From trials to chosen values: trainings whose records are written by hand."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from asr_parallel.compare import run_jobs as run_jobs_module
from asr_parallel.compare import trials
from asr_parallel.compare.jobs import Experiment
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.run_jobs import Job, LocalExecutor, Watch
from asr_parallel.features.frames import FrameStore
from asr_parallel.report.tuning import trials_csv
from asr_parallel.training.evaluation import DIVERGED

TEXT = """
workers: [4]
seeds: [1, 2]
algorithms: {average: {period: 8}}
optimizers: [sgd]
options: {epochs: 4, hidden_dim: 8}
tune: {trials: 4, budget: 0.5, seed: 7, space: {learning_rate: {log: [0.001, 0.1]}, period: {choices: [4, 16]}}}
cells:
  - {algorithm: average, workers: [4], optimizer: sgd, label: every one, options: {period: 1}}
  - {algorithm: average, workers: [4], optimizer: sgd, label: eight, tuned_as: every one,
     options: {epochs: 8, period: 2}}
"""
SINGLE, AVERAGE, EVERY_ONE = "none_1_sgd", "average_4_sgd", "average_4_sgd_every-one"


def read(folder: Path, text: str = TEXT) -> Matrix:
    (folder / "compare.yaml").write_text(text)
    return Matrix.read(folder / "compare.yaml")


def test_trials_of_a_contestant_differ_from_its_trainings_in_values_seed_and_epochs(tmp_path: Path) -> None:
    found = read(tmp_path).trials()
    assert set(found) == {SINGLE, AVERAGE, EVERY_ONE}
    for name, of in found.items():
        assert [trial.name for _, trial in of] == [f"{name}_s7_t{n}" for n in range(4)]
        for values, trial in of:
            options = trial.training_options
            assert (options.data.seed, options.schedule.epochs) == (7, 2)
            assert set(values) == {"learning_rate"}  # the algorithm gives its period itself
            assert options.schedule.learning_rate == values["learning_rate"]
    assert {trial.training_options.algorithm.period for _, trial in found[EVERY_ONE]} == {1}


def test_what_is_chosen_goes_to_all_seeds_and_to_those_tuned_as_it(tmp_path: Path) -> None:
    matrix = read(tmp_path)
    tuned = matrix.tuned({AVERAGE: {"learning_rate": 0.5}, EVERY_ONE: {"learning_rate": 0.25}})
    rates = {one.name: one.training_options.schedule.learning_rate for one in tuned.trainings}
    assert rates == {
        "none_1_sgd_s1": None, "none_1_sgd_s2": None,
        "average_4_sgd_s1": 0.5, "average_4_sgd_s2": 0.5,
        "average_4_sgd_every-one_s1": 0.25, "average_4_sgd_every-one_s2": 0.25,
        "average_4_sgd_eight_s1": 0.25, "average_4_sgd_eight_s2": 0.25,
    }  # fmt: skip
    periods = {one.label: one.training_options.algorithm.period for one in tuned.trainings if one.workers > 1}
    assert periods == {"": 8, "every one": 1, "eight": 2}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("budget: 0.5", "budget: 0.4", "0.4 times the epochs of none_1_sgd_s7: 1.6; expected whole ones"),
        ("tuned_as: every one", "tuned_as: every two", "tuned_as 'every two': expected the label of another cell"),
        ("log: [0.001, 0.1]", "linear: [-1, 1]", "learning_rate .*: expected a number above 0"),
    ],
)
def test_refused_before_anything_runs(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path, TEXT.replace(old, new))


def test_tuned_as_without_tuning(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tuned_as 'b': nothing is tuned"):
        read(tmp_path, "cells: [{algorithm: average, workers: [2], label: a, tuned_as: b}]")


def finish(job: Job, loss: float | str) -> None:
    """Write what a training leaves that ended with a loss, or failed with a last line."""
    folder = Path(job.verbs[0][job.verbs[0].index("--out") + 1])
    if isinstance(loss, str):
        job.failed.parent.mkdir(parents=True, exist_ok=True)
        job.failed.write_text(json.dumps({"last": loss, "status": 1}))
        return
    folder.mkdir(parents=True)
    line = {"kind": "held-out", "frames": 100, "loss": loss, "accuracy": 0.5, "accepted": True}
    (folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "training.json").write_text("{}")


@pytest.fixture
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float | str]]:
    """The ends of the trials by contestant, which are not trained."""
    ends: dict[str, list[float | str]] = {
        SINGLE: [0.8, 0.6, 0.7, 1.2],
        AVERAGE: [f"{DIVERGED}: held-out loss 4e+32", 1.0, 0.9, 1.1],
        EVERY_ONE: [0.5, 0.6, 0.7, 0.8],
    }

    def run_jobs(jobs: Sequence[Job], at_once: int, watch: Watch) -> list[str]:
        for job in jobs:
            assert [verb[0] for verb in job.verbs] == ["train-dnn"]  # trials are not decoded
            name, _, trial = job.name.rpartition("_s7_t")
            finish(job, ends[name][int(trial)])
        return []

    monkeypatch.setattr(run_jobs_module, "run_jobs", run_jobs)
    return ends


def test_the_least_held_out_loss_is_chosen(
    tmp_path: Path, losses: dict[str, list[float | str]], store: FrameStore
) -> None:
    matrix = read(tmp_path)
    tuned, record = trials.tune(matrix, Experiment(tmp_path), tmp_path / "out", store, LocalExecutor(1))
    assert record is not None
    best = {one.name: one.best for one in record.contestants}
    assert best == {SINGLE: 1, AVERAGE: 2, EVERY_ONE: 0}
    rates = {one.name: one.training_options.schedule.learning_rate for one in tuned.trainings}
    for name, of in matrix.trials().items():
        assert rates[f"{name}_s1"] == rates[f"{name}_s2"] == of[best[name]][0]["learning_rate"]
    tried = {one.name: [trial.loss for trial in one.trials] for one in record.contestants}
    assert tried == losses | {AVERAGE: [None, 1.0, 0.9, 1.1]}
    in_order = sorted(range(4), key=lambda n: matrix.trials()[SINGLE][n][0]["learning_rate"])
    for one in record.contestants:
        assert bool(one.at_edge) == (one.best in (in_order[0], in_order[3]))
    lines = trials_csv(record).splitlines()
    assert len(lines) == 1 + 12 and sum(",yes," in line for line in lines) == 3 and "diverged" in lines[5]


def test_a_trial_that_fails_is_an_error_and_one_that_diverges_is_not(
    tmp_path: Path, losses: dict[str, list[float | str]], store: FrameStore
) -> None:
    losses[AVERAGE][1] = "no space left"
    with pytest.raises(ValueError, match=r"trial average_4_sgd_s7_t1: no space left; see .*\.log"):
        trials.tune(read(tmp_path), Experiment(tmp_path), tmp_path / "out", store, LocalExecutor(1))


def test_a_contestant_all_of_whose_trials_diverge(
    tmp_path: Path, losses: dict[str, list[float | str]], store: FrameStore
) -> None:
    losses[AVERAGE] = [f"{DIVERGED}: held-out loss 4e+32"] * 4
    with pytest.raises(ValueError, match="all trials diverged: average_4_sgd; expected a space with lower"):
        trials.tune(read(tmp_path), Experiment(tmp_path), tmp_path / "out", store, LocalExecutor(1))


def test_a_report_takes_the_contestants_whose_trials_are_done(
    tmp_path: Path, losses: dict[str, list[float | str]], store: FrameStore
) -> None:
    matrix = read(tmp_path)
    assert trials.tune(matrix, Experiment(tmp_path), tmp_path / "out", store, None) == (matrix, None)
    trials.tune(matrix, Experiment(tmp_path), tmp_path / "out", store, LocalExecutor(1))
    shutil.rmtree(tmp_path / "out" / "trials" / f"{SINGLE}_s7_t2")
    tuned, record = trials.tune(matrix, Experiment(tmp_path), tmp_path / "out", store, None)
    assert record is not None and [one.name for one in record.contestants] == [AVERAGE, EVERY_ONE]
    rates = {one.contestant: one.training_options.schedule.learning_rate for one in tuned.trainings}
    assert rates[SINGLE] is None and rates[AVERAGE] is not None


def test_without_a_space_nothing_is_tuned(tmp_path: Path, store: FrameStore) -> None:
    matrix = read(tmp_path, "{workers: [2], algorithms: [average]}")
    assert trials.tune(matrix, Experiment(tmp_path), tmp_path / "out", store, LocalExecutor(1)) == (matrix, None)
    assert not (tmp_path / "out").exists()
