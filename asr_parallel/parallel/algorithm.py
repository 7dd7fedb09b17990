"""The base classes of all algorithms, and of synchronous ones: a rule by which K workers' models become new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from asr_parallel.parallel.cost import Setting, StepCost, SyncCost
from asr_parallel.record.options import check

if TYPE_CHECKING:
    from torch import Tensor

    from asr_parallel.nnet.objectives import Soft
    from asr_parallel.parallel.sync_info import Sync, SyncInfo
    from asr_parallel.parallel.worker_group import WorkerGroup
    from asr_parallel.record.timer import Timer

# Options of WorkerOptions that work with any rule on the workers' models
ALL_OPTIONS = frozenset(
    {"weights", "best_first", "drop_worse", "optimizer_state", "comm_dtype", "overlap", "ema", "fault_tolerant"}
)


class Replicas(Protocol):
    """The models of a process's workers, a row each of one flat float32 buffer: a StackedNetwork or a StackedRbm."""

    @property
    def parameters(self) -> Tensor:
        """(R, P) float32, in the order of WorkerGroup.local_workers."""

    def parameters_changed(self) -> None:
        """Take note that `parameters` was written to."""


class Optimizing(Protocol):
    """The part of an optimiser that synchronizations change."""

    def moments(self) -> list[Tensor]:
        """Return state that has a mean, (R, ...) each: velocities, moving averages of gradients."""

    def forget(self) -> None:
        """Start anew, as if no minibatch had been seen."""

    def leave_lookahead(self) -> None:
        """Put parameters where models are compared."""

    def enter_lookahead(self) -> None:
        """Put parameters where gradients are taken."""


class TrainingHook(Protocol):
    """An algorithm's part in the training loop of a process."""

    @property
    def phases(self) -> Timer:
        """The seconds of this process by phase."""

    def stream(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor, Soft | None]]:
        """Yield the minibatches of an epoch from `first` on, with soft labels or None."""

    def after_sync(self, done: int) -> None:
        """Follow a synchronization, `done` minibatches of a worker after the beginning."""

    def after_batch(self) -> None:
        """Follow a minibatch without synchronization."""

    def restore(self, done: int) -> None:
        """Go on from a checkpoint, when the algorithm's state has been loaded."""

    def close(self) -> None:
        """End what is under way."""


@dataclass(frozen=True)
class NoOptions:
    """The options of an algorithm that has none."""


@dataclass(frozen=True, slots=True)
class Context:
    """The setting of a training, for an algorithm's start.

    minibatches_per_epoch: of the worker that has most.
    epochs: of the whole training.
    overlap: whether workers are to train on while messages travel.
    """

    group: WorkerGroup
    minibatches_per_epoch: int = 1
    epochs: int = 1
    overlap: bool = False


class BaseAlgorithm:
    """The base of synchronous and asynchronous algorithms: their options, and how the rest of a training goes.

    Class attributes, which say how the rest of a training goes with it:

    asynchronous: whether workers exchange with a center each at its own time (asynchronous/algorithm.py).
    exchanges_models: whether workers have models of their own that are synchronized.
    shared_replica: whether all workers of a process share one model, because they are equal at all times.
    has_separate_global_model: whether the global model is another one than the workers', even with a single worker.
    ensemble: whether workers stand together by the mean of their outputs, not of their models. Then the best worker's
        model is the final one, every worker's is kept, and no models are combined.
    rounds_of_epochs: whether synchronizations come after whole epochs, with which the learning rate's cycles begin.
    own_initial_models: whether workers may begin from different models.
    can_take_back_epochs: whether an epoch may be taken back by putting back parameters (newbob).
    resets_momentum: whether velocities start anew at a synchronization, unless the user says otherwise.
    lr_scales_with_workers: whether a worker's learning rate is K times the effective one, unless the user says.
    default_schedule, default_share_by: options left to the algorithm.
    supports: names of WorkerOptions' options that are of use.
    uses_means: whether its rule asks for `sync.mean()`, which overlap then delays by a period (synchronizer.py).
    sum_gradients: a method that replaces a process's sum over frames by that of all processes, where gradients are
        summed at every minibatch.
    round_epochs: local epochs until the next synchronization, where rounds are made of epochs.
    """

    asynchronous: ClassVar[bool] = False
    exchanges_models: ClassVar[bool] = True
    shared_replica: ClassVar[bool] = False
    has_separate_global_model: ClassVar[bool] = False
    ensemble: ClassVar[bool] = False
    own_initial_models: ClassVar[bool] = False
    can_take_back_epochs: ClassVar[bool] = False
    resets_momentum: ClassVar[bool] = False
    lr_scales_with_workers: ClassVar[bool] = False
    rounds_of_epochs: ClassVar[bool] = False
    default_schedule: ClassVar[str] = "exponential"
    default_share_by: ClassVar[str] = "utterance"
    supports: ClassVar[frozenset[str]] = ALL_OPTIONS
    uses_means: ClassVar[bool] = True
    sum_gradients: Callable[[Tensor], None] | None = None
    round_epochs: int | None = None

    def __init__(self, options: Any = None) -> None:
        """Take the algorithm's own options, of the registered class; ValueError for one out of range."""
        self.options: Any = NoOptions() if options is None else options
        check(self.options)

    @classmethod
    def moves_one_worker(cls) -> bool:
        """Return whether a single worker is trained otherwise than without an algorithm."""
        return cls.has_separate_global_model or cls.rounds_of_epochs

    def leaves_one_worker(self) -> bool:
        """Return whether, with these options, a single worker comes to what it would without an algorithm."""
        return not self.moves_one_worker()

    @property
    def period(self) -> int | None:
        """Minibatches of a worker from one synchronization to the next (tau); None: never."""
        return getattr(self.options, "period", None)

    def worker_lr_scale(self, num_workers: int) -> float:
        """Return a worker's learning rate over the effective one, unless the user gives it."""
        return float(num_workers) if self.lr_scales_with_workers else 1.0

    def least_frames(self, num_workers: int, minibatch: int) -> int:
        """Return the frames of all workers in an epoch that its source asks for; 0: it asks for none."""
        return 0

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        """Return what the clock needs; unless overridden, one mean of the models a period."""
        return SyncCost(self.period, means=1)


class Algorithm(BaseAlgorithm):
    """A synchronous rule. All processes call all methods alike.

    sum_seconds: seconds of this process in sums of gradients, waiting for the others included.
    own_bytes: bytes that one worker has sent beside means of models.

    shared: state that is the same in every process, by name, for checkpoints; per_worker: state of this process's
    workers, (R, ...) each. `start` fills them; tensors are changed in place.
    """

    sum_seconds = 0.0
    own_bytes = 0

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.shared: dict[str, Tensor] = {}
        self.per_worker: dict[str, Tensor] = {}

    def start(self, model: Tensor, context: Context) -> None:
        """Begin from the model of this process's first worker, (P,); all workers have it unless they begin apart.

        Raises:
            ValueError: constants that the number of workers or the data forbid.
        """

    def weights(self, info: SyncInfo) -> np.ndarray | None:
        """Return (K,) weights of the workers in `sync.mean()`; None: as the options weights and best_first say."""
        return None

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        """Return the models that workers go on from: (P,) for all of them, or (R, P).

        Args:
            params: (R, P) models of this process's workers; to be left alone.
            sync: its tensors are to be read until the next synchronization.
        """
        return sync.mean()

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        """Return (P,) the model that all workers together stand for now, to be read; nothing is changed.

        Args:
            sync: as it would be if workers synchronized now.
        """
        return sync.mean()

    def init_reassigned_worker(self, params: Tensor, shared: Mapping[str, Tensor]) -> Tensor:
        """Return (P,) the model of a worker whose process was lost.

        Args:
            params: (R, P) of other workers right after a synchronization.
            shared: `self.shared` as it was then.
        """
        return params[0]

    def training_hook(self, **parts: Any) -> TrainingHook | None:
        """Return the algorithm's part in the training loop; None: it has none. See parallel/ecdnn/ensemble.py."""
        return None
