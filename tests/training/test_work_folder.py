"""The fate of an unfinished training when the command is another one, and where a diverged one may go on."""

import json
from pathlib import Path

import pytest
from test_stop import checkpoints, stop_after

from asr_parallel.cli.main import main
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training.work_folder import find_unfinished

NETWORK = "--hidden-layers 1 --hidden-dim 8 --minibatch 32 --precision float32 --threads 1 --combine 0 --epochs 1"
UNLIMITED = "--max-change 0 --max-change-output 0 --max-param-change 0"
RUINOUS = f"--optimizer sgd --nonlinearity relu {UNLIMITED} --learning-rate 1e25"
RBM = "--hidden-dim 12 --minibatch 32 --precision float32 --threads 1 --report-frames 500"


def train(frames: Path, out: Path, more: str = "") -> int:
    words = f"{NETWORK} --report-frames 320 {more}".split()
    return main(["train-dnn", "--frames", str(frames), "--out", str(out), *words])


def pretrain(frames: Path, out: Path, more: str = "") -> int:
    return main(["pretrain-rbm", "--frames", str(frames), "--out", str(out), *f"{RBM} {more}".split()])


def interrupted(frames: Path, out: Path, more: str = "", minibatches: int = 20, of=train) -> int:
    """A command that is stopped after so many minibatches; returns the frames of its checkpoint."""
    with pytest.MonkeyPatch.context() as context:
        stop_after(context, minibatches)
        assert of(frames, out, more) == 128 + 15
    work = out.with_name(f"{out.name}.training") if of is train else out / "1.training"
    return checkpoints(work)[-1]


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_an_upgrade_keeps_an_unfinished_training_aside_and_says_why(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = interrupted(frames_folder, tmp_path / "dnn")
    record = read_json(tmp_path / "dnn.training" / "training.json")
    record["identity"]["version"] = "0.1.0"
    write_json(tmp_path / "dnn.training" / "training.json", record)
    assert train(frames_folder, tmp_path / "dnn", "--resume") == 1
    assert "version 0.1.0 (now " in last_error(capsys)
    assert checkpoints(tmp_path / "dnn.training")[-1] == frames
    assert train(frames_folder, tmp_path / "dnn") == 0
    said = capsys.readouterr().err
    assert "version 0.1.0 (now " in said and "dnn.training.kept-1" in said
    assert checkpoints(tmp_path / "dnn.training.kept-1")[-1] == frames
    assert not (tmp_path / "dnn.training").exists()


def test_what_is_kept_is_never_replaced_and_nothing_trained_is_not_kept(frames_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dnn"
    for seed in range(3):
        interrupted(frames_folder, out, f"--seed {seed}")
    kept = sorted(path.name for path in tmp_path.glob("*.kept-*"))
    assert kept == ["dnn.training.kept-1", "dnn.training.kept-2"]
    assert train(frames_folder, out, f"--seed 4 {RUINOUS}") == 1  # in its first minibatch
    assert checkpoints(tmp_path / "dnn.training") == [0]
    assert train(frames_folder, out, "--seed 4") == 0
    assert len(list(tmp_path.glob("*.kept-*"))) == 3  # of seed 2, not of the ruinous rate


def test_a_link_to_a_larger_disk_stays_one(frames_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "large" / "work").mkdir(parents=True)
    (tmp_path / "dnn.training").symlink_to(tmp_path / "large" / "work")
    identity = {"version": "1", "options": {"epochs": 1}, "frames": "a"}
    write_json(tmp_path / "large" / "work" / "training.json", {"identity": identity})
    (tmp_path / "large" / "work" / "checkpoints" / "000000000320").mkdir(parents=True)
    assert not find_unfinished(tmp_path / "dnn.training", {**identity, "options": {"epochs": 2}}, None)
    assert (tmp_path / "dnn.training").is_symlink() and (tmp_path / "large" / "work.kept-1" / "checkpoints").is_dir()
    assert find_unfinished(tmp_path / "dnn.training", identity, None)
    assert checkpoints(tmp_path / "dnn.training") == [320]


def test_a_training_that_diverges_at_once_leaves_its_beginning_and_a_lower_rate_goes_on_from_it(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dnn"
    assert train(frames_folder, out, RUINOUS) == 1
    said = last_error(capsys)
    assert "diverged" in said and "--resume with a lower --learning-rate goes on from the beginning" in said
    assert checkpoints(tmp_path / "dnn.training") == [0]
    assert train(frames_folder, out, f"{RUINOUS.replace('1e25', '0.002')} --resume") == 0
    rates = read_json(out / "training.json")["learning_rates"]
    assert rates == [{"from_frames": 0, "learning_rate": 0.002, "final_learning_rate": None}]


@pytest.mark.parametrize("schedule", ["exponential", "constant", "newbob"])
def test_another_rate_goes_on_from_a_checkpoint_and_is_recorded(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str
) -> None:
    out, rates = tmp_path / "dnn", f"--schedule {schedule} --epochs 2 --learning-rate"
    frames = interrupted(frames_folder, out, f"{rates} 0.004", minibatches=130)  # in the second epoch
    before = read_json_lines(tmp_path / "dnn.training" / "train.jsonl")[-1]["learning_rate"]
    assert train(frames_folder, out, f"{rates} 0.001 --resume --seed 1") == 1
    assert "--seed 0 (now 1)" in last_error(capsys)
    assert train(frames_folder, out, f"{rates} 0.001 --resume") == 0
    assert f"going on after {frames} frames" in capsys.readouterr().err
    record = read_json(out / "training.json")
    assert record["learning_rates"] == [
        {"from_frames": 0, "learning_rate": 0.004, "final_learning_rate": None},
        {"from_frames": frames, "learning_rate": 0.001, "final_learning_rate": None},
    ]
    assert record["identity"]["options"]["learning_rate"] == 0.001
    assert read_json(out / "stage.json")["options"]["learning_rate"] == 0.001
    lines = [line for line in read_json_lines(out / "train.jsonl") if line["kind"] == "train"]
    later = next(line for line in lines if line["frames"] > frames)
    assert later["learning_rate"] == pytest.approx(before / 4, rel=0.2)  # newbob: halved as often as it was


def test_without_resume_another_rate_is_another_training(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dnn"
    interrupted(frames_folder, out, "--learning-rate 0.004")
    assert train(frames_folder, out, "--learning-rate 0.001") == 0
    assert "--learning-rate 0.004 (now 0.001)" in capsys.readouterr().err
    assert (tmp_path / "dnn.training.kept-1").is_dir()
    assert "learning_rates" not in read_json(out / "training.json")


@pytest.fixture
def rbm_frames(frames_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from asr_parallel.pretraining import check_features as normalised

    monkeypatch.setattr(normalised, "SMALLEST_VARIANCE", 0.1)  # these features are normalised in mean alone
    return frames_folder


def test_a_layer_of_rbms_is_kept_aside_too(
    rbm_frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rbm"
    assert pretrain(rbm_frames, out, "--layers 1 --resume") == 1
    assert "no checkpoint" in last_error(capsys)
    frames = interrupted(rbm_frames, out, "--layers 1", of=pretrain)
    assert pretrain(rbm_frames, out, "--layers 1 --seed 1 --resume") == 1
    assert "--seed 0 (now 1)" in last_error(capsys)
    assert pretrain(rbm_frames, out, "--layers 1 --seed 1") == 0
    assert "--seed 0 (now 1)" in capsys.readouterr().err
    assert checkpoints(out / "1.training.kept-1")[-1] == frames
    assert pretrain(rbm_frames, out, "--layers 2") == 0  # the first command again, and one more
    said = capsys.readouterr().err
    assert f"going on after {frames} frames" in said and not list(out.glob("*.training*"))

    frames = interrupted(rbm_frames, out, "--layers 1 --seed 2", of=pretrain)
    assert pretrain(rbm_frames, out, "--layers 1 --seed 2 --no-resume") == 0
    assert "going on" not in capsys.readouterr().err and not list(out.glob("*.training*"))


def test_a_layer_that_diverges_goes_on_with_a_lower_rate(
    rbm_frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rbm"
    assert pretrain(rbm_frames, out, "--layers 1 --rate-gaussian 1e30") == 1
    assert "--resume with a lower --rate-gaussian goes on from the beginning" in last_error(capsys)
    assert pretrain(rbm_frames, out, "--layers 1 --rate-gaussian 0.01 --resume") == 0
    rates = json.loads((out / "1" / "training.json").read_text())["learning_rates"]
    assert [of["from_frames"] for of in rates] == [0] and rates[0]["rate_gaussian"] == 0.01
