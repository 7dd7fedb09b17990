"""A comparison's clock: what is measured once and kept, what data are like, how long a training takes here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.step_time import StepTime
from asr_parallel.compare import modelled
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.modelled import Machine, measured_machine, step_name
from asr_parallel.features.frames import FrameStore

SMALL = "{hidden_layers: 1, hidden_dim: 8, minibatch: 16, precision: float32, epochs: 2, device: cpu}"


@pytest.fixture(autouse=True)
def _one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on how long anything takes."""
    monkeypatch.setattr(modelled, "TURNS", 1)


def trainings(folder: Path, text: str) -> dict[str, Training]:
    (folder / "compare.yaml").write_text(text)
    return {one.name: one for one in Matrix.read(folder / "compare.yaml").trainings}


def test_the_largest_share_and_what_cannot_be_shared(frames_folder: Path, tmp_path: Path) -> None:
    store = FrameStore.open(frames_folder)
    own = "held_out: 0.1, held_out_by: utterance"
    text = f"options: {SMALL[:-1]}, {own}}}"
    of = trainings(tmp_path, f"{{workers: [2], algorithms: {{average: {{share_by: speaker}}}}, {text}}}")
    machine = measured_machine(tmp_path / "times.json", store, list(of.values()), PRESETS["10gbe"])
    assert machine.longest["none_1_ng-sgd_s1"] == 1
    assert machine.longest["average_2_ng-sgd_s1"] == pytest.approx(4 / 3, rel=0.12)  # two of three speakers
    epoch = machine.clock(of["average_2_ng-sgd_s1"]).epoch()
    assert epoch.wait > 0.2 * epoch.compute

    large = trainings(tmp_path, "{workers: [8], algorithms: [average], options: {minibatch: 400, held_out: 0.1}}")
    with pytest.raises(
        ValueError, match=r"average_8_ng-sgd_s1: a worker has \d+ frames; expected at least a minibatch"
    ):
        measured_machine(tmp_path / "other.json", store, list(large.values()), PRESETS["10gbe"])
    assert not (tmp_path / "other.json").exists()


def test_what_was_measured_is_kept_until_the_machine_is_another(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, times = FrameStore.open(frames_folder), tmp_path / "times.json"
    # 1.2 is more than one worker alone may be given
    asked = f"{{workers: [4], algorithms: {{elastic: {{elastic_beta: 1.2}}}}, options: {SMALL}}}"
    of = list(trainings(tmp_path, asked).values())
    measured_machine(times, store, of, PRESETS["10gbe"])
    kept = json.loads(times.read_text())
    (name,) = kept["steps"]
    kept["steps"][name]["seconds"] = 123.0
    times.write_text(json.dumps(kept))
    assert measured_machine(times, store, of, PRESETS["1gbe"]).steps[name].seconds == 123
    monkeypatch.setattr(modelled, "environment", lambda: {"cpu": "another", "gpu": "1 x A"})
    assert measured_machine(times, store, of, PRESETS["1gbe"]).steps[name].seconds < 100
    assert json.loads(times.read_text())["machine"] == {"cpu": "another", "gpu": "1 x A"}


def test_hours_of_trainings_in_one_process(tmp_path: Path) -> None:
    """Each frame once an epoch whatever K is, and K models that label K workers' frames."""
    of = trainings(
        tmp_path, f"{{workers: [2, 4], algorithms: {{average: {{}}, ensemble: {{period: 25}}}}, options: {SMALL}}}"
    )
    shape = (5, 1, 7)
    steps = {step_name(one.training_options, shape): StepTime(0.01, 0.0, 0.004) for one in of.values()}
    machine = Machine(PRESETS["10gbe"], 6400, shape, steps, {}, dict.fromkeys(of, 1.0))
    training = 2 * 400 * 0.01
    training_of_ensemble = trainings(
        tmp_path,
        f"{{workers: [4], algorithms: {{ensemble: {{period: 25, exchange: posteriors}}}}, options: {SMALL}}}",
    )["ensemble_4_ng-sgd_s1"]
    faster = {name: StepTime(0.01, 0.0, 0.004, aggregate_seconds=0.001) for name in steps}
    relabelled = 2 * 400 / 4 / 25 * 0.1 * 400 / 4  # labelled by four models, and added up four times, here for all
    in_one = replace(machine, steps=faster, longest={training_of_ensemble.name: 1.0}).here(training_of_ensemble)
    assert in_one == pytest.approx(training + 4 * relabelled * (0.004 + 0.001))
    for name in ("none_1_ng-sgd_s1", "average_2_ng-sgd_s1", "average_4_ng-sgd_s1"):
        assert machine.here(of[name]) == pytest.approx(training)
    for workers in (2, 4):
        rounds, relabelled = 400 / workers / 25, 0.1 * 400 / workers
        labelling = 2 * rounds * workers * workers * relabelled * 0.004
        assert machine.here(of[f"ensemble_{workers}_ng-sgd_s1"]) == pytest.approx(training + labelling)


def test_models_of_workers_that_do_not_train_yet_take_time_here(tmp_path: Path) -> None:
    own = f"{SMALL[:-1]}, workers_first: 1}}"
    (of,) = (
        one for one in trainings(tmp_path, f"{{workers: [4], algorithms: [average], options: {own}}}").values()
        if one.workers == 4
    )  # fmt: skip
    machine = Machine(
        PRESETS["10gbe"], 6400, (5, 1, 7), {step_name(of.training_options, (5, 1, 7)): StepTime(0.01, 0.0, 0.004)}, {},
        {of.name: 1.0},
    )  # fmt: skip
    assert machine.here(of) == pytest.approx(2 * 400 * 0.01 * 4 / 2.5)
