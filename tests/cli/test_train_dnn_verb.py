"""The verb train-dnn: one line for what is wrong, nothing left behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.cli.main import main

NO_LIMITS = ["--max-change", "0", "--max-change-output", "0", "--max-param-change", "0"]
SMALL = [*("--hidden-layers", "1", "--hidden-dim", "8", "--minibatch", "32", "--epochs", "1", "--threads", "1")]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame store of 20 utterances in three dimensions and four pdfs, made by the verb's own stage."""
    from asr_parallel.features.archive import write_archive
    from asr_parallel.features.frame_writer import make_frames
    from asr_parallel.record.files import write_json

    feats, out = tmp_path_factory.mktemp("feats"), tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    write_archive(feats, [(f"u{k}", f"s{k % 5}", random.standard_normal((50, 3))) for k in range(20)])
    write_json(feats / "kind.json", {"kind": "fbank"})
    make_frames(feats, {f"u{k}": random.integers(0, 4, 50) for k in range(20)}, 4, out)
    return out


def run(frames: Path, out: Path, *more: str) -> int:
    return main(["train-dnn", "--frames", str(frames), "--out", str(out), *SMALL, *more])


@pytest.mark.usefixtures("pixels")
def test_it_leaves_a_network_and_the_record_of_its_training(frames: Path, tmp_path: Path) -> None:
    assert run(frames, tmp_path / "dnn", "--held-out-by", "speaker", "--held-out", "0.3") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dnn"]
    made = {path.name for path in (tmp_path / "dnn").iterdir()}
    assert {"net.safetensors", "net.json", "log_prior.npy", "train.jsonl", "curves.png", "tensorboard"} <= made
    assert (tmp_path / "dnn" / "curves.png").read_bytes().startswith(b"\x89PNG")
    arithmetic = json.loads((tmp_path / "dnn" / "training.json").read_text())["arithmetic"]
    assert arithmetic["threads"] == 1 and arithmetic["products"] in ("float32", "bfloat16")
    described = json.loads((tmp_path / "dnn" / "net.json").read_text())
    assert described["network"]["components"][-1]["dim"] == 4 and described["feature_config"]["dim"] == 3
    options = json.loads((tmp_path / "dnn" / "stage.json").read_text())["options"]
    assert (options["optimizer"], options["nonlinearity"]) == ("ng-sgd", "relu-renorm")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--processes 2 --sim-jitter 0.2", "sim_jitter 0.2 is of no use to 2 processes; expected one"),
        ("--processes 4 --sim-straggler 3", "sim_straggler 3.0 is of no use to 4 processes; expected one"),
        ("--leave-unread", "leave_unread True is of no use to 1 process; expected several"),
    ],
)
def test_options_of_another_number_of_processes_are_refused_in_one_line(
    frames: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    line = ["--algorithm", "downpour", "--workers", "4", *more.split()]
    assert run(frames, tmp_path / "dnn", *line) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--minibatch", "5000"], "less than one minibatch of 5000"),
        (["--learning-rate", "-1"], "learning_rate -1.0: expected a number above 0"),
        (["--held-out", "2"], "held_out 2.0: expected a number above 0 and below 1"),
        (["--epochs", "0"], "epochs 0: expected a whole number of at least 1"),
        (["--threads", "0"], "threads 0: expected a whole number of at least 1"),
        (["--report-frames", "0"], "report_frames 0: expected a whole number of at least 1"),
        (["--hidden-dim", "0"], "hidden_dim 0: expected a whole number of at least 1"),
        (
            ["--optimizer", "sgd", "--nonlinearity", "relu", "--learning-rate", "1e25", *NO_LIMITS],
            "training diverged",
        ),
        (["--nonlinearity", "relu", "--learning-rate", "1", *NO_LIMITS], "training diverged: held-out loss"),
    ],
)
def test_bad_options_are_one_line(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert run(frames, tmp_path / "dnn", *more) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("asr-parallel train-dnn: error: ") and message in last
    assert not (tmp_path / "dnn").exists()


def test_an_unknown_option_is_bad_usage(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        run(frames, tmp_path / "dnn", "--learning-rte", "1")
    assert status.value.code == 2 and "--learning-rte" in capsys.readouterr().err


def test_a_label_outside_the_output_layer(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "frames"
    shutil.copytree(frames, damaged)
    labels = np.load(damaged / "labels.npy")
    labels[labels == 2] = 9
    np.save(damaged / "labels.npy", labels)
    assert run(damaged, tmp_path / "dnn") == 1
    assert "frames" in (said := capsys.readouterr().err) and "9" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def not_finite(path: Path) -> None:
    matrix = np.load(path)
    matrix[70, 1] = np.inf
    np.save(path, matrix)


def one_dimension_less(path: Path) -> None:
    np.save(path, np.load(path)[:, :2].copy())


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("frames.npy", cut, "frames.npy: truncated or not a .npy file"),
        ("labels.npy", cut, "labels.npy: truncated or not a .npy file"),
        ("index.json", cut, "index.json: not valid JSON"),
        ("labels.npy", Path.unlink, "frames: no labels.npy; expected a frame store made by stage 4"),
        ("frames.npy", not_finite, "utterance u1, row 10 of 60, is not finite"),
        ("frames.npy", one_dimension_less, "frames.npy has 2 dimensions"),
    ],
)
def test_a_damaged_frame_store_is_one_line(
    frames: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    shutil.copytree(frames, tmp_path / "frames")
    damage(tmp_path / "frames" / name)
    assert run(tmp_path / "frames", tmp_path / "dnn") == 1
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1] and said.count("error: ") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_input_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "frames", tmp_path / "dnn") == 1
    assert "frames: does not exist; run the stage that makes it first" in capsys.readouterr().err
