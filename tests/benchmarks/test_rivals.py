"""Trainings by torch's own means: the same losses and network as ours where the rule is the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training.run_training import train_into, working_path
from asr_parallel.training.train_lines import LINES
from asr_parallel.training.train_options import training_options

FOLDER = Path(__file__).parents[2] / "benchmarks" / "rivals"
OPTIONS: dict[str, Any] = {
    "hidden_layers": 2, "hidden_dim": 8, "nonlinearity": "relu", "epochs": 2, "minibatch": 16,
}  # fmt: skip
NO_LIMITS = {"max_change": 0.0, "max_change_output": 0.0, "max_param_change": 0.0}  # torch has none
TOLERANCE = 1e-4  # of parameters: rounding, of which two epochs make more


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def ours(frames: Path, out: Path, **options: Any) -> tuple[Network, list[float]]:
    """Train by the package; return the network and its held-out losses after each epoch."""
    out.mkdir()
    chosen = training_options(
        **OPTIONS, **NO_LIMITS, **options, combine=0, precision="float32", device="cpu", worker_lr_scale=None
    )
    train_into(out, working_path(out), frames, chosen, None, 1 << 40, 1 << 40)
    lines = read_json_lines(out / LINES)
    return Network.open(out), [line["loss"] for line in lines if line["kind"] == "held-out"]


def rival(frames: Path, out: Path, **task: Any) -> tuple[Network, Mapping[str, Any]]:
    from train import RESULT, Task, train

    train(Task(frames=str(frames), options=OPTIONS, seed=3, **task), out)
    return Network.open(out), json.loads((out / RESULT).read_text())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("workers", "momentum"), [(1, 0.0), (2, 0.9)])
def test_ddp_is_our_summed_gradients(frames_folder: Path, tmp_path: Path, workers: int, momentum: float) -> None:
    theirs, result = rival(
        frames_folder, tmp_path / "rival", rival="ddp", optimizer="sgd", workers=workers, learning_rate=0.01,
        momentum=momentum,
    )  # fmt: skip
    optimizer = {"optimizer": "momentum", "momentum": momentum} if momentum else {"optimizer": "sgd"}
    network, losses = ours(
        frames_folder, tmp_path / "ours", workers=workers, algorithm="gradient", seed=3, learning_rate=0.01, **optimizer
    )
    assert losses[-1] < 0.9 * result["held_out_loss"][0]  # something is learnt
    assert result["held_out_loss"][1:] == pytest.approx(losses, abs=1e-5)
    assert torch.allclose(theirs.net.parameters, network.net.parameters, atol=TOLERANCE)


@pytest.mark.timeout(120)
def test_the_averager_is_our_averaging_after_gradients_that_stay_local(frames_folder: Path, tmp_path: Path) -> None:
    theirs, result = rival(
        frames_folder, tmp_path / "rival", rival="averager", optimizer="sgd", workers=3, learning_rate=0.005, period=4
    )
    network, losses = ours(
        frames_folder, tmp_path / "ours", workers=3, algorithm="average", period=4, seed=3, learning_rate=0.005,
        optimizer="sgd",
    )  # fmt: skip
    assert losses[-1] < 0.9 * result["held_out_loss"][0]
    assert result["held_out_loss"][1:] == pytest.approx(losses, abs=1e-5)
    assert torch.allclose(theirs.net.parameters, network.net.parameters, atol=TOLERANCE)


@pytest.mark.timeout(120)
def test_the_averager_with_gradients_first_is_ddp_until_then(frames_folder: Path, tmp_path: Path) -> None:
    task = {"optimizer": "adamw", "workers": 2, "learning_rate": 0.01}
    ddp, _ = rival(frames_folder, tmp_path / "ddp", rival="ddp", **task)
    always, _ = rival(frames_folder, tmp_path / "always", rival="averager", gradient_first=1 << 30, **task)
    local, _ = rival(frames_folder, tmp_path / "local", rival="averager", **task)
    assert torch.allclose(ddp.net.parameters, always.net.parameters, atol=TOLERANCE)
    assert not torch.allclose(ddp.net.parameters, local.net.parameters, atol=10 * TOLERANCE)


def test_the_module_is_the_network() -> None:
    from module import Rectifiers

    network = StackedNetwork(dnn(3, 2, 2, 8, 5, "relu")).initialise(1)
    spliced = torch.randn(7, network.spec.input_dim, generator=torch.Generator().manual_seed(0))
    module = Rectifiers(network)
    assert torch.allclose(module(spliced), network.logits(spliced[None])[0], atol=1e-6)
    copy = StackedNetwork(network.spec)
    module.copy_to(copy)
    assert torch.equal(copy.logits(spliced[None]), network.logits(spliced[None]))
    with pytest.raises(ValueError, match="sigmoid"):
        Rectifiers(StackedNetwork(dnn(3, 2, 1, 8, 5, "sigmoid")))


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    from module import Optimizers

    def moved(name: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 3)
        optimizers, before = Optimizers(name, layer), [one.detach().clone() for one in layer.parameters()]
        layer(torch.ones(2, 4)).square().sum().backward()
        optimizers.step(0.01)
        return [new.detach() - old for new, old in zip(layer.parameters(), before, strict=True)]

    (muon_weight, muon_bias), (weight, bias) = moved("muon"), moved("adamw")
    assert torch.equal(muon_bias, bias) and bias.abs().min() > 0
    assert not torch.allclose(muon_weight, weight)
    with pytest.raises(ValueError, match="adamw"):
        Optimizers("adamw", torch.nn.Linear(2, 2), momentum=0.9)
