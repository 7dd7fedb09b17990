"""Hooks of network training: an algorithm's part, the best model, the last models, evaluations within an epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.state import State, copy_tensors
from asr_parallel.record.timer import OTHER, NoTimer, Timer
from asr_parallel.training.evaluation import Evaluator
from asr_parallel.training.final_model import write_model
from asr_parallel.training.hooks import EpochEnd, Hook, Step
from asr_parallel.training.metrics_logger import MetricsLogger


class AlgorithmHook(Hook):
    """The training hook of an algorithm that takes part in the loop, see parallel/algorithm.py."""

    def __init__(self, hook: Any) -> None:
        self._hook, self.timer, self._number = hook, hook.phases, 0

    def on_sync(self, step: Step) -> None:
        self._hook.after_sync(step.number)

    def on_batch(self, step: Step) -> None:
        self._number = step.number
        if not step.synced:
            self._hook.after_batch()

    def state_dict(self) -> State:
        return State(values={"minibatches": self._number})

    def load_state_dict(self, state: State) -> None:
        self._number = state.values["minibatches"]
        self._hook.restore(self._number)


class BestModel(Hook):
    """The best model so far, to which a rejected epoch goes back."""

    def __init__(self, network: StackedNetwork) -> None:
        self._network, self._best = network, network.parameters.clone()

    def on_epoch_end(self, end: EpochEnd) -> None:
        if end.accepted:
            self._best.copy_(self._network.parameters)
        else:
            self._network.parameters.copy_(self._best)
            self._network.parameters_changed()

    def state_dict(self) -> State:
        return State(per_worker={"model": self._best})

    def load_state_dict(self, state: State) -> None:
        copy_tensors(self.state_dict().per_worker, state.per_worker, "best model")


class LastModels(Hook):
    """The last models of a training, kept in files for their mean, see final_model.py."""

    def __init__(self, folder: Path, moments: list[int], model: Callable[[], Tensor], is_main: bool) -> None:
        """Take what to keep.

        Args:
            moments: frames after which to keep a model.
            model: the global model. Collective.
        """
        self._folder, self._moments, self._model, self._is_main = folder, moments, model, is_main

    @property
    def newest_first(self) -> list[Path]:
        """Files of all the models."""
        return [self._file(moment) for moment in reversed(self._moments)]

    def due(self, step: Step) -> bool:
        return any(step.before < moment <= step.frames for moment in self._moments)

    def on_batch(self, step: Step) -> None:
        for moment in self._moments:
            if step.before < moment <= step.frames:
                model = self._model()
                if self._is_main:
                    write_model(self._file(moment), model)

    def _file(self, moment: int) -> Path:
        return self._folder / f"{moment:012d}.safetensors"


class PeriodicEvaluation(Hook):
    """Evaluations on held-out data within an epoch; its end has its own."""

    def __init__(
        self, evaluator: Evaluator, metrics: MetricsLogger, frames: int | None, timer: Timer | NoTimer
    ) -> None:
        """Take the frames between two evaluations; None: none within an epoch."""
        self._evaluator, self._metrics, self._frames, self._timer = evaluator, metrics, frames, timer

    def due(self, step: Step) -> bool:
        return step.crosses(self._frames)

    def on_batch(self, step: Step) -> None:
        if self.due(step) and not step.last:
            with self._timer.during(OTHER):
                score, per_worker = self._evaluator.score()
            self._metrics.held_out(step.frames, score.loss, score.accuracy, more=per_worker)
