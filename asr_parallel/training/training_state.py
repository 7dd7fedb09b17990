"""The state of a training, into a checkpoint and back."""

from typing import TYPE_CHECKING, Any

import torch

from asr_parallel.training.checkpoint import Checkpoint
from asr_parallel.training.divergence import check_common
from asr_parallel.training.metrics_logger import MetricsLogger

if TYPE_CHECKING:
    from asr_parallel.training.trainer import Trainer


def save(trainer: "Trainer", watch: MetricsLogger) -> None:
    """Write a checkpoint of the present state."""
    tensors = {
        "parameters": trainer.network.parameters,
        **trainer.optimizer.state(),
        **trainer.algorithm.worker_state(),
    }
    if trainer.best is not None:
        tensors["best"] = trainer.best
    shared, workers = trainer.rounds.tensors(), {}
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
        "rounds": trainer.rounds.state(),
        "watch": watch.state(),
    }
    trainer.checkpoints.save(trainer.frames, shared, state, workers)


def restore(trainer: "Trainer", checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint of a training with the same store and options; ValueError when it is of another."""
    shared = dict(checkpoint.tensors)
    for name, tensor in trainer.rounds.tensors().items():
        tensor.copy_(shared.pop(name))
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
    for name, tensor in trainer.algorithm.worker_state().items():
        tensor.copy_(tensors.pop(name))
    trainer.optimizer.restore(tensors)
    trainer.schedule.restore(checkpoint.state["schedule"])
    trainer.rounds.restore(checkpoint.state["rounds"])
    trainer.epoch, trainer.minibatch = checkpoint.state["epoch"], checkpoint.state["minibatch"]
    trainer.frames, trainer.watched = checkpoint.frames, checkpoint.state["watch"]
    if trainer.compression is not None:
        trainer.compression.restore(trainer.done)
