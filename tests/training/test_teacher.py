"""Training towards a network or an ensemble: by every algorithm, and what does not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ensembles import WORKERS, options

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import EnsembleNetwork
from asr_parallel.training.init_model import Teacher
from asr_parallel.training.train_options import TrainingOptions
from asr_parallel.training.trainer import Trainer


@pytest.fixture(scope="module")
def store(frames_folder: Path) -> FrameStore:
    return FrameStore.open(frames_folder)


@pytest.fixture(scope="module")
def trained(store: FrameStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ensemble."""
    work = tmp_path_factory.mktemp("trained")
    Trainer(store, options(), work).run()
    return work / "ensemble"


def taught(trained: Path, **changes: Any) -> TrainingOptions:
    alone = {"period": None, "initial": "shared"}
    return options(**{**alone, "teacher": str(trained), "start": str(trained / "0"), **changes})


@pytest.mark.parametrize("algorithm", ["average", "gradient", "elastic", "none"])
@pytest.mark.parametrize("workers", [1, WORKERS + 1])  # of four the shares are not equally long
def test_by_every_algorithm(store: FrameStore, trained: Path, tmp_path: Path, algorithm: str, workers: int) -> None:
    made = [
        Trainer(
            store, taught(trained, algorithm=algorithm, workers=workers, pseudo_weight=weight), tmp_path / str(weight)
        )
        for weight in (0.0, 2.0)
    ]
    start = EnsembleNetwork.open(trained).members[0].net.parameters[0]
    for trainer in made:
        assert all(torch.equal(model, start) for model in trainer.network.parameters)
        trainer.run()
        assert trainer.network.parameters.isfinite().all()
    assert not torch.equal(made[0].network.parameters, made[1].network.parameters)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_what_it_says_is_the_mean_of_its_members(store: FrameStore, trained: Path, temperature: float) -> None:
    teacher = Teacher(trained, store, 0.5, temperature, torch.device("cpu"), torch.float32)
    x = torch.randn(2, 5, store.spliced_dim, generator=torch.Generator().manual_seed(0))
    soft = teacher.soft(x)
    logits = [member.logits(x.flatten(0, 1)) / temperature for member in EnsembleNetwork.open(trained).members]
    mean = torch.stack([torch.softmax(of_one, dim=1) for of_one in logits]).mean(dim=0)
    torch.testing.assert_close(soft.target, mean.view(2, 5, -1))
    assert (soft.weight, soft.temperature) == (0.5, temperature)
    one = Teacher(trained / "1", store, 0.5, temperature, torch.device("cpu"), torch.float32).soft(x)
    torch.testing.assert_close(one.target.flatten(0, 1), torch.softmax(logits[1], dim=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "{}/0", "hidden_dim": 5}, "0: a network of .*affine 12.*; expected .*affine 5"),
        ({"teacher": "{}/../ensemble/7"}, "7: no net.json; expected a network made by stage 6"),
        ({"algorithm": "ensemble", "workers": 2}, "algorithm ensemble has its own teacher: expected no other one"),
        ({"initial": "own"}, "start: expected no pretraining and initial shared"),
    ],
)
def test_what_does_not_fit(
    store: FrameStore, trained: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    changes = {name: value.format(trained) if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        Trainer(store, taught(trained, **{"algorithm": "average", **changes}), tmp_path)


def test_frames_normalised_otherwise(store: FrameStore, trained: Path) -> None:
    doubled = replace(store.normalisation, scale=tuple(2 * factor for factor in store.normalisation.scale))
    with pytest.raises(ValueError, match="its normalisation is not the frame store's"):
        Teacher(trained, replace(store, normalisation=doubled), 1.0, 1.0, torch.device("cpu"), torch.float32)
