"""A new algorithm in one file: this one. Nothing else knows of it."""

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fast_start import Started
from safetensors.torch import load_file
from torch import Tensor

from asr_parallel.cli.main import main
from asr_parallel.compare.matrix import Matrix
from asr_parallel.parallel.algorithm import Algorithm, Context
from asr_parallel.parallel.registry import PLUGINS, register
from asr_parallel.parallel.sync_info import Sync
from asr_parallel.record.options import option


@dataclass(frozen=True)
class SignedOptions:
    """Options of the signed mean."""

    period: int = option(8, "minibatches of a worker between two synchronizations", least=1)
    signed_step: float = option(0.01, "how far each parameter of the global model moves", above=0)


@register("signed", options=SignedOptions, rule="the global model moves by step * sign(mean - global)", use="in tests")
class SignedMean(Algorithm):
    """All workers go on from the global model g; g <- g + step * sign(mean - g)."""

    has_separate_global_model = True

    def start(self, model: Tensor, context: Context) -> None:
        self.shared["global"] = model.clone()

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        model = self.shared["global"]
        return model.add_(torch.sign(sync.mean() - model), alpha=self.options.signed_step)

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        return self.shared["global"]


SMALL = (
    "--hidden-layers 1 --hidden-dim 12 --minibatch 16 --epochs 2 --learning-rate 0.003 --precision float32 --combine 0"
    " --threads 1 --workers 4 --algorithm signed --signed-step 0.002 --period 3"
)


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLUGINS, __file__)  # for processes that are started from here


def words(frames: Path, out: Path, *more: str) -> list[str]:
    return ["train-dnn", "--frames", str(frames), "--out", str(out), *SMALL.split(), *more]


def model(folder: Path) -> bytes:
    return (folder / "net.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(frames_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Networks by the number of processes that they were trained in."""
    found = {processes: tmp_path_factory.mktemp("signed") / "net" for processes in (1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS, __file__)
        for processes, out in found.items():
            assert Started(words(frames_folder, out, "--processes", str(processes))).wait(120) == 0
    return found


def test_the_rule() -> None:
    signed = SignedMean(SignedOptions(signed_step=0.5))
    signed.start(torch.zeros(3), None)  # type: ignore[arg-type]
    assert signed.shared["global"].tolist() == [0, 0, 0]


def test_its_option_counts(frames_folder: Path, trained: dict[int, Path], tmp_path: Path) -> None:
    assert main(words(frames_folder, tmp_path / "net", "--signed-step", "0.004")) == 0
    assert model(tmp_path / "net") != model(trained[1])


def test_out_of_range_or_of_no_use(frames_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(frames_folder, tmp_path / "net", "--signed-step", "0")) != 0
    assert "signed_step 0.0: expected a number above 0" in capsys.readouterr().err
    assert main(words(frames_folder, tmp_path / "net", "--algorithm", "average")) != 0
    assert "signed_step 0.002 is of no use to algorithm average, only to signed" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_two_processes_train_as_one(trained: dict[int, Path]) -> None:
    """The mean's last bits depend on the number of processes, but a step's sign hardly ever."""
    one, two = (load_file(folder / "net.safetensors") for folder in trained.values())
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=0.02)  # ten steps
    assert len(json.loads((trained[2] / "sync_stats.json").read_text())["ranks"]) == 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_it_is_the_same_bit_for_bit(
    frames_folder: Path, trained: dict[int, Path], tmp_path: Path, processes: int
) -> None:
    out = tmp_path / "net"
    often = words(frames_folder, out, "--checkpoint-frames", "200", "--processes", str(processes))
    process = Started(often)
    checkpoints = tmp_path / "net.training" / "checkpoints"
    while len(list(checkpoints.glob("[0-9]*"))) < 2 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(120) == -signal.SIGKILL
    while Started([*often, "--resume"]).wait(120) != 0:  # until the processes that it had started have ended too
        time.sleep(0.5)
    assert model(out) == model(trained[processes])


def test_a_matrix_knows_it(tmp_path: Path) -> None:
    file = tmp_path / "matrix.yaml"
    file.write_text("workers: [1, 2]\nalgorithms: {signed: {period: 4, signed_step: 0.1}}\n")
    matrix = Matrix.read(file)
    assert [one.algorithm for one in matrix.trainings] == ["none", "signed"]
    assert matrix.trainings[1].training_options.algorithm == SignedOptions(period=4, signed_step=0.1)
    file.write_text("workers: [2]\nalgorithms: {signed: {signed_step: -1}}\n")
    with pytest.raises(ValueError, match=r"signed_step -1\.0: expected a number above 0"):
        Matrix.read(file)


def test_it_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--workers", "2,4", "--algorithm", "signed", "--step-seconds", "0.1", "--period", "2"]) == 0
    assert "| signed | 4 |" in capsys.readouterr().out
    assert main(["predict", "--workers", "4", "--step-seconds", "0.1"]) == 0
    assert {"| signed | 4 |", "| average | 4 |"} <= {
        line[: line.index("4 |") + 3] for line in capsys.readouterr().out.splitlines() if "| 4 |" in line
    }
