"""What becomes of trainings whose records lie in folders: written by hand here, some of them stale or cut."""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.step_time import StepTime
from asr_parallel.compare.collect import collect, reached
from asr_parallel.compare.jobs import Experiment, job_of, options_of
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.modelled import Machine, step_name
from asr_parallel.compare.run_jobs import Job
from asr_parallel.corpus.set_names import DEV_EVAL, parse_sets
from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.groups import curves, summarise
from asr_parallel.report.tables import identity_columns, time_columns
from asr_parallel.training.train_options import config_identity

SHAPE, FRAMES = (40, 5, 100), 100_000
COURSE = [(10.0, 3.0), (20.0, 2.0), (40.0, 1.0), (50.0, 1.5)]


def matrix(folder: Path, text: str) -> Matrix:
    (folder / "compare.yaml").write_text(text)
    return Matrix.read(folder / "compare.yaml")


def trained(folder: Path, losses: list[float], rejected: tuple[int, ...] = (), **more: Any) -> None:
    """The records of a training of 100,000 frames and 100 seconds; more: of its synchronizations."""
    folder.mkdir(parents=True)
    lines = []
    for n, loss in enumerate(losses):
        frames = FRAMES * (n + 1) // len(losses)
        scale = {"max_change_scale": 1 - 0.1 * (n + 1)}
        lines.append({"kind": "train", "frames": frames, "frames_per_second": 1000.0, **scale})
        lines.append(
            {"kind": "held-out", "frames": frames, "loss": loss, "accuracy": 0.5, "accepted": n not in rejected}
        )
        of_workers = {"workers_loss": [loss + 0.1, loss], "workers_accuracy": [0.4, 0.5]}
        lines[-1] |= of_workers | {"ensemble_loss": loss - 0.1, "ensemble_accuracy": 0.6}
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "stage.json").write_text('{"seconds": 120.0}')
    (folder / "training.json").write_text("{}")
    own = {"waited_seconds": 2.0, "moved_seconds": 1.0} | more
    (folder / "sync_stats.json").write_text(json.dumps({"bytes_per_worker": 1000, "syncs": 12, "ranks": [own]}))


def cells(
    of: Matrix,
    out: Path,
    failed: tuple[str, ...] = (),
    jitter: float = 0.1,
    seconds: dict[int, float] | None = None,
    last: str = "no space left",
    sets: str = DEV_EVAL,
) -> dict[str, Cell]:
    """seconds: of a step, by its minibatch; 0.01 unless said."""
    experiment = Experiment(out / "exp", sets=parse_sets(sets))
    jobs: dict[str, Job] = {one.name: job_of(one, of, experiment, out, 1000) for one in of.trainings}
    for name in failed:
        jobs[name].failed.parent.mkdir(exist_ok=True)
        jobs[name].failed.write_text(json.dumps({"last": last, "status": 1}))
    steps = {
        step_name(own, SHAPE): StepTime((seconds or {}).get(own.optimization.minibatch, 0.01), jitter, 0.003)
        for own in (one.training_options for one in of.trainings)
    }
    longest = {one.name: 1.0 for one in of.trainings}
    machine = Machine(PRESETS["10gbe"], FRAMES, SHAPE, steps, {}, longest)
    found = collect(of, jobs, experiment, out, machine, ["asr-parallel"])
    return {cell.name: cell for cell in found.cells}


@pytest.fixture
def two(tmp_path: Path) -> Matrix:
    of = matrix(tmp_path, "{workers: [2], algorithms: [average]}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 2.0])
    trained(tmp_path / "average_2_ng-sgd_s1", [2.5, 1.5])
    return of


def test_both_clocks(two: Matrix, tmp_path: Path) -> None:
    found = cells(two, tmp_path)
    one, average = found["none_1_ng-sgd_s1"], found["average_2_ng-sgd_s1"]
    assert one.status == average.status == "done" and average.period == 16
    assert one.speedup_frames == one.speedup_loss == 1
    assert average.speedup_frames is not None and average.peak_speedup is not None and average.speedup_loss is not None
    assert 1.5 < average.speedup_frames < average.peak_speedup < 2  # workers wait for each other
    # One comes to 2.0 at the end, two at three quarters, each of whose seconds counts for less than two
    assert average.speedup_loss == pytest.approx(average.speedup_frames / 0.75)
    measured = average.measured
    assert measured is not None and (measured.seconds, measured.compute, measured.wait) == (120, 97, 2)
    assert average.bytes_per_worker == 1000
    assert (average.syncs, average.frames_per_worker, average.warnings) == (12, FRAMES / 2, ())
    assert average.cut_share == pytest.approx(0.15) and one.syncs is None


def test_word_errors_of_all_sets_whatever_their_names(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: [average]}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    scored = {"wer": 10.0, "words": 20, "sub": 2, "del": 0, "ins": 0, "scorer": "s", "rules": "plain"}
    for name in ("dev_clean", "test_clean", "eval"):  # eval was decoded before, and is no set of this comparison
        folder = tmp_path / "none_1_ng-sgd_s1" / f"decode_{name}" / "scoring"
        folder.mkdir(parents=True)
        (folder / "wer.json").write_text(json.dumps(scored | {"per_speaker": {"a": {"errors": 2, "words": 20}}}))
    found = cells(of, tmp_path, sets="dev_clean dev_other test_clean:dev_clean test_other:dev_other")
    assert list(found["none_1_ng-sgd_s1"].wer) == ["dev_clean", "test_clean"]
    command = found["average_2_ng-sgd_s1"].command
    assert command.count("asr-parallel decode ") == 4 and command.count("asr-parallel score ") == 2


def test_asynchronous_workers_have_staleness_and_queues(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: {average: {}, async-elastic: {period: 4, sim_straggler: 3}}}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    name = "async-elastic_2_ng-sgd_s1"
    stats = json.loads((tmp_path / name / "sync_stats.json").read_text())
    stats |= {"staleness": {"0": 1, "1": 2, "3": 1}, "fetch_queue": {"0": 3}, "push_queue": {"0": 2, "2": 1}}
    (tmp_path / name / "sync_stats.json").write_text(json.dumps(stats))
    found = cells(of, tmp_path)
    cell, synchronous = found[name], found["average_2_ng-sgd_s1"]
    assert cell.status == "done" and cell.period == 4
    assert (cell.staleness, cell.most_staleness, cell.queue_length) == (1.25, 3, pytest.approx(1 / 3))
    assert (synchronous.staleness, synchronous.most_staleness, synchronous.queue_length) == (None, None, None)
    assert 1.1 < cell.speedup_frames < 4 / 3 < min(synchronous.speedup_frames, cell.peak_speedup)
    asynchronous, usual = (
        {column.name for column in time_columns(Comparison("", "", "", (one,)))} for one in (cell, synchronous)
    )
    assert asynchronous - usual == {"staleness", "most_staleness", "queue_length"}


def test_the_queue_at_a_server_counts_others_alone(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: {async-elastic: {period: 4}}}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    name = "async-elastic_2_ng-sgd_s1"
    stats = json.loads((tmp_path / name / "sync_stats.json").read_text())
    stats |= {"staleness": {"0": 4}, "queue": {"1": 3, "2": 1}}
    (tmp_path / name / "sync_stats.json").write_text(json.dumps(stats))
    assert cells(of, tmp_path)[name].queue_length == 0.25


def test_speedup_is_against_the_single_worker_it_is_compared_with(tmp_path: Path) -> None:
    """Whose minibatches are four times as large, and a frame of them half as dear."""
    text = "{workers: [4], algorithms: {gradient: {minibatch: 32}}, options: {minibatch: 128}}"
    of = matrix(tmp_path, text)
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    found = cells(of, tmp_path, seconds={128: 0.02, 32: 0.01})["gradient_4_ng-sgd_s1"]
    seconds = found.modelled.seconds
    assert found.speedup_frames == pytest.approx(FRAMES / 128 * 0.02 / seconds)
    assert found.efficiency == pytest.approx(found.speedup_frames / 4) and found.efficiency < 0.5


def test_every_command_of_a_cell(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: [ensemble]}")
    found = cells(of, tmp_path)
    for name in ("none_1_ng-sgd_s1", "ensemble_2_ng-sgd_s1", "ensemble_2_ng-sgd_s1_ensemble"):
        verbs = [line.split()[1] for line in found[name].command.split(" && ")]
        assert verbs == ["train-dnn", "decode", "decode", "score"]
        assert f"{tmp_path / name / 'decode_eval'}" in found[name].command


def test_nothing_is_said_of_what_a_failed_job_has_left(two: Matrix, tmp_path: Path) -> None:
    found = cells(two, tmp_path, failed=("none_1_ng-sgd_s1",))
    one, average = found["none_1_ng-sgd_s1"], found["average_2_ng-sgd_s1"]
    assert (one.status, one.error) == ("failed", "no space left") and not one.learning_curve and one.frames is None
    assert average.status == "done" and average.speedup_loss is None  # there is nothing to compare it with


def test_a_training_that_diverged_has_no_figures_and_is_no_baseline(two: Matrix, tmp_path: Path) -> None:
    said = "asr-parallel train-dnn: error: training diverged: held-out loss 9000, 6.5 before training"
    for failed in two.trainings:
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)
        found = cells(two, tmp_path, failed=(failed.name,), last=said)
        other = next(cell for name, cell in found.items() if name != failed.name)
        lost = found[failed.name]
        assert (lost.status, lost.error, lost.speedup_frames, lost.wer) == ("diverged", said, None, {})
        assert other.status == "done" and (other.workers == 1 or other.speedup_loss is None)


@pytest.mark.parametrize(("last", "untrained", "status"), [
    (9000.0, None, "diverged"), (4e32, 6.5, "diverged"), (None, None, "diverged"), (9.3, None, "diverged"),
    (9.1, None, "done"), (9.3, 5.0, "done"), (10.1, 5.0, "diverged"),
])  # fmt: skip
def test_one_that_was_done_before_it_was_known_to_diverge(
    tmp_path: Path, last: float | None, untrained: float | None, status: str
) -> None:
    """Twice ln(100), the loss of equal probabilities for 100 pdfs, is 9.21."""
    of = matrix(tmp_path, "{workers: [2], algorithms: [average], cells: [{algorithm: none, workers: [2]}]}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 2.0])
    trained(tmp_path / "none_2_ng-sgd_s1", [2.5, 1.9])
    trained(tmp_path / "average_2_ng-sgd_s1", [2.5, 3.0] + ([last] if last else []))
    if last is None:  # not finite, and so not accepted
        path = tmp_path / "average_2_ng-sgd_s1" / "train.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[-1] |= {"loss": None, "accepted": False}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if untrained is not None:
        identity = json.dumps({"untrained_loss": untrained})
        (tmp_path / "average_2_ng-sgd_s1" / "training.json").write_text(identity)
    found = cells(of, tmp_path)
    average = found["average_2_ng-sgd_s1"]
    assert average.status == status and ("held-out loss" in average.error) == (status == "diverged")
    assert (average.speedup_frames is None) == (average.efficiency is None) == (status == "diverged")
    assert found["none_2_ng-sgd_s1"].speedup_loss is not None  # the others are compared as ever


def test_a_single_worker_that_diverged_is_no_target(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: [average]}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 9000.0])
    trained(tmp_path / "average_2_ng-sgd_s1", [2.5, 1.5])
    found = cells(of, tmp_path)
    assert found["none_1_ng-sgd_s1"].status == "diverged"
    average = found["average_2_ng-sgd_s1"]
    assert average.status == "done" and average.speedup_loss is None


def test_every_option_is_reported(tmp_path: Path) -> None:
    """Also those that nobody gave: the variation of the data is what a plain comparison leaves out."""
    text = "{workers: [2], algorithms: [average], options: {epochs: 2}, cells: [{algorithm: average, workers: [2],"
    of = matrix(tmp_path, text + " label: period 4, options: {period: 4}}]}")
    for words, tilt in (((), 0.0), (("--channel-tilt", "0.3"), 0.3)):
        experiment = Experiment(tmp_path, train=words)
        common, own = options_of({one.name: job_of(one, of, experiment, tmp_path, 1000) for one in of.trainings})
        assert common["channel_tilt"] == tilt and common["mask_filters"] == 0 and common["epochs"] == 2
        assert own["average_2_ng-sgd_period-4_s1"] == {"period": 4} and not own["none_1_ng-sgd_s1"]
        assert "workers" not in common and "seed" not in common and common["learning_rate"] > 0


def test_an_epoch_that_was_taken_back_is_no_result(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: [average], options: {schedule: newbob}}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 2.1, 9e9], rejected=(2,))
    trained(tmp_path / "average_2_ng-sgd_s1", [3.0, 2.15, 2.15])
    found = cells(of, tmp_path)
    assert found["none_1_ng-sgd_s1"].learning_curve[-1].loss == 2.1
    assert found["average_2_ng-sgd_s1"].speedup_loss == 0  # 2.15 is no 2.1


def test_times_of_a_part_are_not_those_of_the_whole(two: Matrix, tmp_path: Path) -> None:
    (tmp_path / "average_2_ng-sgd_s1" / "training.json").write_text('{"went_on_after_frames": 50000}')
    average = cells(two, tmp_path)["average_2_ng-sgd_s1"]
    assert average.measured is None and average.bytes_per_worker is None and average.speedup_frames is not None


def test_an_ensemble_and_its_best(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2, 4], algorithms: [ensemble]}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 2.0])
    phases = {"local": 80.0, "exchange": 5.0, "label": 10.0, "compress": 5.0}
    for workers in (2, 4):
        trained(tmp_path / f"ensemble_{workers}_ng-sgd_s1", [2.5, 1.5], phases=phases)
    found = cells(of, tmp_path)
    best, together = found["ensemble_2_ng-sgd_s1"], found["ensemble_2_ng-sgd_s1_ensemble"]
    assert (best.learning_curve[-1].loss, together.learning_curve[-1].loss) == (1.5, 1.4)
    assert best.folder == str(tmp_path / "ensemble_2_ng-sgd_s1") and together.folder == f"{best.folder}_ensemble"
    measured = best.measured
    assert measured is not None and (measured.wait, measured.exchange, measured.label) == (2, 3, 10)
    assert measured.compute == 85
    # Its period follows from the number of workers, and does not tell systems apart
    drawn = {curve.system: [group.workers for group in curve.groups] for curve in curves(summarise(made_of(of, found)))}
    assert drawn == {"ensemble": [1, 2, 4], "ensemble (all together)": [1, 2, 4]}


def test_workers_that_never_meet_may_be_of_use_together_where_their_mean_is_not(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], algorithms: {none: {keep_workers: true}}}")
    trained(tmp_path / "none_1_ng-sgd_s1", [3.0, 2.0])
    own = tmp_path / "none_2_ng-sgd_s1"
    trained(own, [2.5, 1.5])
    lines = [json.loads(line) | {"loss": 9000.0} for line in (own / "train.jsonl").read_text().splitlines()]
    (own / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = cells(of, tmp_path)
    mean, together = found[own.name], found[own.name + "_ensemble"]
    assert (mean.status, mean.speedup_frames) == ("diverged", None)
    assert (together.status, together.learning_curve[-1].loss) == ("done", 1.4) and together.speedup_loss is not None


def made_of(of: Matrix, found: dict[str, Cell]) -> Comparison:
    return Comparison(of.title, "", "", tuple(found.values()))


def test_a_seed_that_failed_is_still_one_of_its_group(tmp_path: Path) -> None:
    of = matrix(tmp_path, "{workers: [2], seeds: [1, 2], algorithms: [average]}")
    for seed in (1, 2):
        trained(tmp_path / f"none_1_ng-sgd_s{seed}", [3.0, 2.0])
    trained(tmp_path / "average_2_ng-sgd_s1", [2.5, 1.5])
    groups = summarise(made_of(of, cells(of, tmp_path, failed=("average_2_ng-sgd_s2",))))
    assert [(group.workers, len(group.done), len(group.cells)) for group in groups] == [(1, 2, 2), (2, 1, 2)]


@pytest.mark.parametrize(
    ("loss", "where"), [(3.5, 10), (3.0, 10), (2.5, 15), (2.0, 20), (1.25, 35), (1.0, 40), (0.9, None)]
)
def test_between_two_points_on_a_straight_line(loss: float, where: float | None) -> None:
    assert reached(COURSE, loss) == where


def test_what_is_not_known_is_left_out() -> None:
    assert reached([(10.0, 3.0), (15.0, None), (None, 0.5), (17.0, math.inf), (18.0, math.nan), *COURSE[1:]], 2.5) == 15
    assert reached([], 1.0) is None


def test_a_tuned_period_does_not_make_systems_of_their_own(tmp_path: Path) -> None:
    """Numbers of workers for which another period was chosen are points of one curve."""
    space = "{learning_rate: {log: [0.001, 0.01]}, period: {choices: [4, 16]}}"
    text = f"{{workers: [2, 4], algorithms: [average], tune: {{trials: 3, space: {space}}}}}"
    of = matrix(tmp_path, text).tuned({"average_2_ng-sgd": {"period": 4}, "average_4_ng-sgd": {"period": 16}})
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    found = cells(of, tmp_path)
    groups = summarise(Comparison("t", "c", "", tuple(found.values())))
    (curve,) = curves(groups)
    assert [group.workers for group in curve.groups] == [1, 2, 4]
    assert found["average_2_ng-sgd_s1"].options["period"] == 4


def test_what_was_trained_with_other_options_is_missing(two: Matrix, tmp_path: Path) -> None:
    """After the file was edited, a report that trains nothing finds results of other options."""
    made = {one.name: json.loads(json.dumps(config_identity(one.training_options))) for one in two.trainings}
    for name, options in made.items():
        if name.startswith("average"):
            options["learning_rate"] = 0.123
        (tmp_path / name / "training.json").write_text(json.dumps({"identity": {"options": options}}))
    found = cells(two, tmp_path)
    assert found["none_1_ng-sgd_s1"].status == "done"
    assert found["average_2_ng-sgd_s1"].status == "missing" and "other options" in found["average_2_ng-sgd_s1"].error


def test_a_growing_number_of_workers_is_slowest_at_first(tmp_path: Path) -> None:
    text = "{workers: [4], algorithms: [average], cells: [{algorithm: average, workers: [4], label: ramp, %s}]}"
    of = matrix(tmp_path, text % "options: {workers_first: 1}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.5, 2.2, 2.0])
    found = cells(of, tmp_path, jitter=0.0)
    one, all_along, ramp = (
        found[f"{name}_s1"] for name in ("none_1_ng-sgd", "average_4_ng-sgd", "average_4_ng-sgd_ramp")
    )
    assert ramp.speedup_frames == pytest.approx(2.5, rel=0.05)  # (1 + 4) / 2 workers on average
    assert all_along.speedup_frames == pytest.approx(4, rel=0.05) and ramp.peak_speedup == all_along.peak_speedup

    def quarters(cell: Cell) -> list[float]:
        seconds = [0.0, *(at.modelled_seconds or 0.0 for at in cell.learning_curve)]
        return [after - before for before, after in pairwise(seconds)]

    # Frames are counted from the start of 8 epochs, of which these are the first, by one worker and then two
    assert quarters(ramp)[0] == pytest.approx(quarters(one)[0])
    assert max(quarters(all_along)) == pytest.approx(quarters(one)[0] / 4, rel=0.05)
    assert ramp.options["workers_first"] == 1


def test_growing_periods_are_shown_from_the_least_to_the_greatest(tmp_path: Path) -> None:
    rates = "learning_rate: 0.001, final_learning_rate: 0.0001, minibatch: 100, epochs: 8"
    own = f"{{period: 4, qsr_alpha: 0.4, worker_lr_scale: 1, {rates}}}"
    of = matrix(tmp_path, f"{{workers: [2], algorithms: {{block-momentum: {own}, gradient: {{{rates}}}}}}}")
    for one in of.trainings:
        trained(tmp_path / one.name, [3.0, 2.0])
    found = cells(of, tmp_path)
    grown, fixed = found["block-momentum_2_ng-sgd_s1"], found["gradient_2_ng-sgd_s1"]
    # (0.4 / (0.001 x 100))^2 = 16 minibatches at first, and up to 100 times as many at a tenth of the rate
    assert grown.period == 4 and grown.periods[0] == 16 and 400 < grown.periods[1] <= 1600
    assert fixed.period == 1 and fixed.periods == ()
    (column,) = (one for one in identity_columns() if one.name == "period")
    assert [column.show(one) for one in (grown, fixed)] == [f"16 to {grown.periods[1]}", "1"]
    assert f"longest period, {grown.periods[1]} minibatches" in "".join(grown.warnings)
