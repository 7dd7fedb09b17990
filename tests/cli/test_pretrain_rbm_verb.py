"""pretrain-rbm and train-dnn --pretrain rbm, from the command line to the files."""

from pathlib import Path

import pytest

from asr_parallel.cli.main import main
from asr_parallel.record.json_lines import read_json_lines

SIZES = "--hidden-dim 12 --precision float32 --threads 1 --seed 3"


def pretrain(frames: Path, out: Path, more: str) -> int:
    words = f"--minibatch 16 --report-frames 1000 {SIZES} {more}"
    return main(["pretrain-rbm", "--frames", str(frames), "--out", str(out), *words.split()])


def train(frames: Path, out: Path, rbm: Path, more: str = "") -> int:
    words = f"{SIZES} --minibatch 16 --epochs 2 --nonlinearity sigmoid --pretrain rbm --rbm {rbm} {more}"
    return main(["train-dnn", "--frames", str(frames), "--out", str(out), *words.split()])


@pytest.mark.usefixtures("pixels")
def test_a_stack_and_the_network_that_begins_as_it(frames_folder: Path, tmp_path: Path) -> None:
    rbm = tmp_path / "rbm"
    assert pretrain(frames_folder, rbm, "--layers 1") == 0
    first = (rbm / "1" / "rbm.safetensors").stat().st_mtime_ns
    assert pretrain(frames_folder, rbm, "--layers 3") == 0
    made = [(rbm / layer / "rbm.safetensors").stat().st_mtime_ns for layer in "123"]
    assert made[0] == first  # a finished layer is never trained again
    assert pretrain(frames_folder, rbm, "--layers 3") == 0
    assert made == [(rbm / layer / "rbm.safetensors").stat().st_mtime_ns for layer in "123"]
    for picture in (rbm / "1" / "filters.png", rbm / "curves.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert not list(rbm.glob("*.training"))
    for layer in "123":
        last = read_json_lines(rbm / layer / "train.jsonl")[-1]
        assert last["kind"] == "rbm" and last["layer"] == int(layer) and 0 < last["mean_activation"] < 1
    assert train(frames_folder, tmp_path / "dnn", rbm, "--hidden-layers 2") == 0
    held_out = [line for line in read_json_lines(tmp_path / "dnn" / "train.jsonl") if line["kind"] == "held-out"]
    assert held_out[-1]["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("hidden_layers", "damage", "words"),
    [
        (2, False, "2: does not exist; run the stage that makes it first"),
        (1, True, "not a finished layer of stage 5"),
    ],
)
def test_a_stack_that_does_not_do_is_refused(
    frames_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hidden_layers: int,
    damage: bool,
    words: str,
) -> None:
    rbm = tmp_path / "rbm"
    assert pretrain(frames_folder, rbm, "--layers 1") == 0
    if damage:
        (rbm / "1" / "rbm.safetensors").write_bytes(b"no tensors")
    capsys.readouterr()
    assert train(frames_folder, tmp_path / "dnn", rbm, f"--hidden-layers {hidden_layers}") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and words in errors[0]
    assert not (tmp_path / "dnn").exists()


def test_a_stack_of_layers_that_were_not_made_of_each_other_is_refused(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rbm = tmp_path / "rbm"
    assert pretrain(frames_folder, rbm, "--layers 2") == 0
    assert pretrain(frames_folder, rbm, "--layers 1 --epochs 2") == 0  # another first layer under the old second one
    assert train(frames_folder, tmp_path / "dnn", rbm, "--hidden-layers 2") == 1
    assert "have changed since; run stage 5 again" in capsys.readouterr().err
    assert train(frames_folder, tmp_path / "dnn", rbm, "--hidden-layers 1") == 0


def test_pretraining_without_a_stack_is_refused(
    frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--frames", str(frames_folder), "--out", str(tmp_path / "dnn"), "--pretrain", "rbm"]
    assert main(["train-dnn", *words]) == 1
    assert "a folder of RBMs is needed for pretrain rbm" in capsys.readouterr().err


def test_options_out_of_range(frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(frames_folder, tmp_path / "rbm", "--momentum-max 1.5") == 1
    assert "momentum_max 1.5: expected a number of at least 0 and below 1" in capsys.readouterr().err
    assert pretrain(frames_folder, tmp_path / "rbm", "--momentum-max 0.1") == 1
    assert "expected 0 <= min <= max < 1" in capsys.readouterr().err
    assert not (tmp_path / "rbm").exists()
