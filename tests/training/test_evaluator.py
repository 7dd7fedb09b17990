"""Workers whose models are finite but overflow: no part of the ensemble, and said to be none."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ensembles import WORKERS, options

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import EnsembleNetwork
from asr_parallel.training.trainer import Trainer


def overflowing(frames_folder: Path, work: Path, workers: list[int]) -> Trainer:
    """A trainer that is about to begin, with parameters that are finite and logits that are not."""
    trainer = Trainer(FrameStore.open(frames_folder), options(nonlinearity="relu"), work)
    layers = trainer.network.layers
    for worker in workers:
        layers.weights[0][worker] *= 1e3
        layers.weights[1][worker].copy_(torch.where(torch.arange(12) % 2 == 0, 1e37, -1e37))
    trainer.network.parameters_changed()
    assert trainer.scheduler.finite_mask(trainer.network).all()
    return trainer


@pytest.mark.parametrize("lost", [[0], [1, 2]])
def test_all_together_are_those_that_do_not_overflow(
    frames_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: list[int]
) -> None:
    trainer = overflowing(frames_folder, tmp_path, lost)
    score = trainer.evaluator.of_workers()
    left = [worker for worker in range(WORKERS) if worker not in lost]
    alone = [score.workers[worker].loss for worker in left]
    assert np.isfinite(score.ensemble.loss) and score.ensemble.loss <= np.mean(alone) + 1e-5
    assert score.best == left[int(np.argmin(alone))]
    json.dumps(score.fields(), allow_nan=False)
    with caplog.at_level(logging.WARNING):
        best = trainer._export_workers()
    assert torch.equal(best, trainer.network.parameters[score.best])
    assert f"not finite: worker {', '.join(map(str, lost))}" in caplog.text
    assert len(EnsembleNetwork.open(tmp_path / "ensemble").members) == len(left)


def test_where_all_overflow_the_training_has_diverged(frames_folder: Path, tmp_path: Path) -> None:
    trainer = overflowing(frames_folder, tmp_path, [0, 1, 2])
    with pytest.raises(ValueError, match="training diverged: no worker's model and held-out loss are finite"):
        trainer._export_workers()
