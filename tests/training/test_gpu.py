"""On a GPU: the same as on the CPU to rounding, and no waiting for it between two updates of the preconditioners."""

from pathlib import Path

import pytest
import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet import rbm as rbms
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.nnet.sampling import draw_binary
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

SPEC = dnn(frame_dim=8, context=2, hidden_layers=2, hidden_dim=48, num_pdfs=30, nonlinearity="relu-renorm")


def minibatch(step: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    x, y = torch.randn(2, 64, 40, generator=random), torch.randint(0, 30, (2, 64), generator=random)
    return x.to(device), y.to(device)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_cpu(name: str) -> None:
    parameters = []
    for device in ("cpu", "cuda"):
        network = StackedNetwork(SPEC, 2, device).initialise(1)
        of = optimizer(name, network, MaxChange(), 0.9)
        for step in range(20):
            of.step(network.backward(*minibatch(step, device)), 0.001)
        parameters.append(network.parameters.cpu())
    torch.testing.assert_close(parameters[1], parameters[0], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_the_eigenvalues_of_an_update_are_waited_for(name: str) -> None:
    network = StackedNetwork(SPEC, 2, "cuda", torch.bfloat16).initialise(1)
    of = optimizer(name, network, MaxChange(), 0.9)
    data = [minibatch(step, "cuda") for step in range(30)]
    waited = []
    for step, (x, y) in enumerate(data):
        torch.cuda.set_sync_debug_mode("error")
        try:
            of.step(network.backward(x.bfloat16(), y), 0.001)
        except RuntimeError as error:
            assert "synchroniz" in str(error)
            waited.append(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    updates = [step for step in range(30) if step <= 10 or (step - 10) % 4 == 0]
    assert set(waited) <= (set(updates) if name == "ng-sgd" else set())


def test_training_learns_and_resumes_on_a_gpu(frames_folder: Path, tmp_path: Path) -> None:
    options = training_options(hidden_layers=2, hidden_dim=32, minibatch=32, epochs=4, learning_rate=0.004)
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    assert trainer.network.device.type == "cuda" and trainer.network.dtype == torch.bfloat16
    network = trainer.run(checkpoint_frames=1000)
    assert network.net.device.type == "cpu" and network.net.parameters.isfinite().all()
    checkpoint = trainer.checkpoints.newest([0])
    assert checkpoint is not None
    again = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    again.resume(checkpoint)
    assert again.network.parameters.device.type == "cuda"


TOGETHER = [
    {"period": 4},
    {"period": 4, "overlap": True, "ema": 0.5},
    {"period": 4, "comm_dtype": "int8", "fault_tolerant": True},
    {"period": 4, "algorithm": "block-momentum", "comm_dtype": "float16"},
    {"period": 4, "algorithm": "elastic", "optimizer": "nesterov", "learning_rate": 0.02},
    {"algorithm": "gradient"},
    {"algorithm": "colearn", "share_by": "utterance"},
    {"algorithm": "none"},
    {"algorithm": "ensemble", "period": 4, "relabel_fraction": 0.05, "temperature": 2.0},
    {"algorithm": "ensemble", "period": 8, "relabel_fraction": 0.05, "overlap": True},
    {"algorithm": "ensemble", "period": 8, "relabel_fraction": 0.05, "exchange": "posteriors", "top": 2},
]


@pytest.mark.parametrize("more", TOGETHER)
def test_workers_meet_on_a_gpu(frames_folder: Path, tmp_path: Path, more: dict) -> None:
    known = {"workers": 3, "hidden_layers": 1, "hidden_dim": 32, "minibatch": 16, "epochs": 6, "learning_rate": 0.004}
    trainer = Trainer(FrameStore.open(frames_folder), training_options(**{**known, **more}), tmp_path)
    trainer.run(checkpoint_frames=1000)
    assert trainer.evaluator.score()[0].accuracy > 0.6
    again = Trainer(FrameStore.open(frames_folder), training_options(**{**known, **more}), tmp_path)
    checkpoint = trainer.newest_checkpoint()
    assert checkpoint is not None
    again.resume(checkpoint)


@pytest.mark.parametrize("gaussian", [True, False])
def test_contrastive_divergence_is_that_of_the_cpu(gaussian: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the samples, which are of each device's own random numbers."""
    random = torch.Generator().manual_seed(0)
    data = torch.randn(2, 64, 40, generator=random) if gaussian else torch.rand(2, 64, 40, generator=random)
    noise = torch.rand(2, 64, 24, generator=random)
    monkeypatch.setattr(rbms, "draw_binary", lambda p, seeds, out: out.copy_(noise.to(p.device) < p))
    parameters = []
    for device in ("cpu", "cuda"):
        rbm = StackedRbm(RbmSpec(40, 24, gaussian), 2, device).initialise(0, None if gaussian else data.mean((0, 1)))
        for _ in range(5):
            rbm.update(rbm.contrast(data.to(device), [0, 0]), rate=0.01, momentum=0.5)
        parameters.append(rbm.parameters.cpu())
    torch.testing.assert_close(parameters[1], parameters[0], atol=1e-3, rtol=1e-2)


def test_contrastive_divergence_never_waits() -> None:
    rbm = StackedRbm(RbmSpec(40, 24, True), 2, "cuda", torch.bfloat16).initialise(0)
    data = torch.randn(2, 64, 40, device="cuda", dtype=torch.bfloat16)
    rbm.update(rbm.contrast(data, [0, 1]), rate=0.01, momentum=0.5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        rbm.update(rbm.contrast(data, [2, 3]), rate=0.01, momentum=0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_samples_on_a_gpu_follow_from_their_seeds() -> None:
    probabilities = torch.rand(2, 500, 64, device="cuda", dtype=torch.bfloat16)
    both = draw_binary(probabilities, [7, 2**64 - 1], torch.empty_like(probabilities))
    alone = draw_binary(probabilities[1:], [2**64 - 1], torch.empty_like(probabilities[1:]))
    assert torch.equal(both[1], alone[0])
    assert abs(float((both.float() - probabilities.float()).mean())) < 0.01
