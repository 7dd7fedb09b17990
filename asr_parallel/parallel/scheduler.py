"""The interface of workers' exchanges to a training, synchronous or not."""

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from asr_parallel.parallel.algorithm import BaseAlgorithm, Replicas
from asr_parallel.parallel.state import State
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions
from asr_parallel.record.timer import NoTimer, Timer


class Scheduler(Protocol):
    """The exchanges of a training's workers: a SyncScheduler, or an AsyncScheduler (training/async_scheduler.py)."""

    @property
    def algorithm(self) -> BaseAlgorithm: ...

    @property
    def group(self) -> WorkerGroup: ...

    @property
    def options(self) -> WorkerOptions: ...

    @property
    def synchronizes(self) -> bool:
        """True when workers ever exchange."""

    @property
    def sync_due(self) -> bool:
        """True when workers synchronize after the next minibatch."""

    @property
    def num_syncs(self) -> int:
        """Exchanges so far."""

    def model(self, replicas: Replicas) -> Tensor:
        """Return (P,) the model to be evaluated and exported, as of now, to be read."""

    def finish(self, replicas: Replicas) -> Tensor:
        """Return (P,) the final model."""

    def stats(self, timer: Timer | NoTimer) -> dict[str, Any]:
        """Return statistics of the exchanges as JSON values, see SyncScheduler.stats."""

    def finite_mask(self, replicas: Replicas) -> np.ndarray:
        """Return (K,) bool, whose model is finite."""

    def state_dict(self) -> State:
        """Return the state; no copies."""

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned."""
