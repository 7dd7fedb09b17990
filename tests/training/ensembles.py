"""Small trainings of ensembles that are looked at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import Soft
from asr_parallel.training.train_options import TrainingOptions, training_options
from asr_parallel.training.trainer import Trainer

WORKERS, PERIOD = 3, 9


def options(**changes: Any) -> TrainingOptions:
    """67 minibatches of each of three workers in an epoch, of which three are labelled in a round of nine."""
    base: dict[str, Any] = {
        "workers": WORKERS,
        "algorithm": "ensemble",
        "period": PERIOD,
        "relabel_fraction": 0.05,
        "hidden_layers": 1,
        "hidden_dim": 12,
        "nonlinearity": "sigmoid",
        "initial": "own",
        "minibatch": 16,
        "epochs": 1,
        "learning_rate": 0.01,
        "precision": "float32",
        "combine": 0,
    }
    if changes.get("overlap"):
        base["initial"] = "shared"
    if changes.get("algorithm", "ensemble") != "ensemble":
        del base["relabel_fraction"]
    return training_options(**{**base, **changes})


@dataclass
class Seen:
    """Record of a training: minibatches (frames, labels, pseudo-labels); after each synchronization, by the minibatches
    before it, the models (K, P) and the members of the ensemble.
    """

    trainer: Trainer
    minibatches: list[tuple[Tensor, Tensor, Soft | None]] = field(default_factory=list)
    models: dict[int, Tensor] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)

    @property
    def compressed(self) -> list[int]:
        return [n for n, (_, _, soft) in enumerate(self.minibatches) if soft is not None]


def watched(store: FrameStore, work: Path, **changes: Any) -> Seen:
    """A training that will be looked at."""
    trainer = Trainer(store, options(**changes), work)
    seen, backward = Seen(trainer), trainer.network.backward
    compression = trainer.compression
    assert compression is not None
    after_sync = compression.after_sync

    def looked_at(spliced: Tensor, labels: Tensor, soft: Soft | None = None) -> Any:
        kept = None if soft is None else Soft(soft.target.clone(), soft.weight, soft.temperature)
        seen.minibatches.append((spliced.clone(), labels.clone(), kept))
        return backward(spliced, labels, soft)

    def after(done: int) -> None:
        seen.models[done] = trainer.network.parameters.clone()
        seen.members[done] = trainer.algorithm.members
        after_sync(done)

    trainer.network.backward = looked_at
    compression.after_sync = after
    return seen


def run(store: FrameStore, work: Path, **changes: Any) -> Seen:
    seen = watched(store, work, **changes)
    seen.trainer.run()
    return seen
