"""The state of a training, into a checkpoint and back."""

from typing import TYPE_CHECKING, Any

import torch

from asr_parallel.parallel.state import State
from asr_parallel.training.checkpoint import Checkpoint
from asr_parallel.training.divergence import check_common
from asr_parallel.training.metrics_logger import MetricsLogger

if TYPE_CHECKING:
    from asr_parallel.training.trainer import Trainer


def save(trainer: "Trainer", watch: MetricsLogger) -> None:
    """Write a checkpoint of the present state."""
    syncs = trainer.rounds.state_dict()
    tensors = {"parameters": trainer.network.parameters, **trainer.optimizer.state(), **syncs.per_worker}
    if trainer.best is not None:
        tensors["best"] = trainer.best
    shared, workers = syncs.shared, {}
    if trainer.algorithm.shared_replica:
        check_common(trainer.group.transport, trainer.network.parameters)
        shared = {**shared, **tensors}
    else:
        for r, worker in enumerate(trainer.group.local_workers):
            workers[worker] = {name: tensor[r] for name, tensor in tensors.items()}
    state: dict[str, Any] = {
        "epoch": trainer.epoch,
        "minibatch": trainer.minibatch,
        "schedule": trainer.schedule.state(),
        "syncs": syncs.values,
        "watch": watch.state(),
    }
    trainer.checkpoints.save(trainer.frames, shared, state, workers)


def restore(trainer: "Trainer", checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint of a training with the same store and options; ValueError when it is of another."""
    shared, syncs = dict(checkpoint.tensors), trainer.rounds.state_dict()
    own_shared = {name: shared.pop(name) for name in syncs.shared}
    if trainer.algorithm.shared_replica:
        tensors = shared
    else:
        own = [checkpoint.workers[worker] for worker in trainer.group.local_workers]
        tensors = {name: torch.stack([of_one[name] for of_one in own]) for name in own[0]}
    parameters, best = tensors.pop("parameters"), tensors.pop("best", None)
    if parameters.shape != trainer.network.parameters.shape or (best is None) != (trainer.best is None):
        raise ValueError("checkpoint of another network or schedule")
    trainer.network.parameters.copy_(parameters)
    trainer.network.parameters_changed()
    if trainer.best is not None and best is not None:
        trainer.best.copy_(best)
    per_worker = {name: tensors.pop(name) for name in syncs.per_worker}
    trainer.rounds.load_state_dict(State(own_shared, per_worker, checkpoint.state["syncs"]))
    trainer.optimizer.restore(tensors)
    trainer.schedule.restore(checkpoint.state["schedule"])
    trainer.epoch, trainer.minibatch = checkpoint.state["epoch"], checkpoint.state["minibatch"]
    trainer.frames, trainer.watched = checkpoint.frames, checkpoint.state["watch"]
    if trainer.compression is not None:
        trainer.compression.restore(trainer.done)
