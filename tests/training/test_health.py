"""What stops a training: one bad loss, or a bad one everywhere."""

from pathlib import Path

import pytest
import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.transport import Alone
from asr_parallel.training.health import check_common, first_bad
from asr_parallel.training.options import TrainingOptions, decisive
from asr_parallel.training.trainer import Trainer


class Told(Alone):
    """What the processes gather is given."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def gather(self, value: object) -> list[float]:
        return self.values


def test_one_bad_loss_is_enough_unless_workers_are_on_their_own() -> None:
    assert first_bad(Told([-1, -1]), -1, everywhere=False) is None
    assert first_bad(Told([-1, 640]), -1, everywhere=False) == 640
    assert first_bad(Told([-1, 640]), -1, everywhere=True) is None
    assert first_bad(Told([128, 640]), 128, everywhere=True) == 128


def test_a_common_model_that_has_come_apart_is_noticed() -> None:
    check_common(Told([1.0, 1.0]), torch.ones(1))
    with pytest.raises(ValueError, match=r"come apart \(sums of parameters \[1.0, 1.5\]\)"):
        check_common(Told([1.0, 1.5]), torch.ones(1))


def test_isolated_workers_do_without_one_that_returns_nan(frames_folder: Path, tmp_path: Path) -> None:
    options = TrainingOptions(
        workers=2, algorithm="none", hidden_layers=1, hidden_dim=8, minibatch=64, epochs=1, combine=0
    )
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    trainer.network.parameters[1] = torch.nan
    trainer.network.parameters_changed()
    network = trainer.run()
    assert network is not None and bool(network.net.parameters.isfinite().all())
    trainer = Trainer(FrameStore.open(frames_folder), options, tmp_path)
    trainer.network.parameters.fill_(torch.nan)
    trainer.network.parameters_changed()
    with pytest.raises(ValueError, match="training diverged: the loss of minibatch 1 "):
        trainer.run()


def test_what_decides_a_network() -> None:
    assert decisive(TrainingOptions(survive=True)) == decisive(TrainingOptions())
    assert decisive(TrainingOptions(workers=2)) != decisive(TrainingOptions())
