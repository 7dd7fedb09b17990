"""Held-out loss and accuracy in the course of a training."""

import math
from typing import Any

import numpy as np

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.training.divergence import DIVERGED
from asr_parallel.training.evaluation import Score, WorkersScore, evaluate, evaluate_workers
from asr_parallel.training.options import TrainingOptions


class Evaluator:
    """Asks a training's models about held-out frames; all processes call it alike."""

    def __init__(
        self,
        store: FrameStore,
        rows: np.ndarray,
        network: StackedNetwork,
        rounds: SyncScheduler,
        options: TrainingOptions,
    ) -> None:
        """Args:
        rows: of the store, held out.
        network: of this process's workers.
        """
        self._store, self._rows, self._network, self._rounds = store, rows, network, rounds
        self._group, self._algorithm = rounds.group, rounds.algorithm
        self._outputs, self._each = Outputs(options.final_model.ensemble_average), options.keeps_workers
        alone = self._group.num_workers == 1 or self._algorithm.shared_replica
        same = alone and not (self._algorithm.has_separate_global_model or options.workers.ema)
        # What is judged is the model that all workers stand for together
        self._judged = network if same else StackedNetwork(network.spec, 1, network.device, network.dtype)

    def score(self) -> tuple[Score, dict[str, Any] | None]:
        """Of what all workers stand for; and where they are kept, those of each as JSON values."""
        if not self._each:
            return self._of_model(), None
        of_each = self.of_workers()
        return of_each.ensemble if self._algorithm.ensemble else self._of_model(), of_each.fields()

    def of_workers(self) -> WorkersScore:
        """Return the scores of those whose model and whose loss are finite; DivergedError when there are none."""
        sound = self._rounds.finite_mask(self._network)
        while sound.any():
            score = evaluate_workers(self._network, sound, self._outputs, self._store, self._rows, self._group)
            finite = np.array([math.isfinite(of_one.loss) for of_one in score.workers])
            if (finite == sound).all():
                return score
            sound = finite  # finite parameters, but products that overflow: no part of all together either
        raise DivergedError(f"{DIVERGED}: no worker's model and held-out loss are finite")

    def _of_model(self) -> Score:
        if self._judged is not self._network:
            self._judged.take(self._rounds.model(self._network))
        return evaluate(self._judged, self._store, self._rows, self._group.transport)
