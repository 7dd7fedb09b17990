"""EC-DNN: workers stay different and teach each other."""

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.soft_labels import TOP
from asr_parallel.parallel.sync_info import SyncInfo
from asr_parallel.parallel.worker_group import WorkerGroup

# The paper's constants are not known here; these are this project's own
ROUNDS_PER_EPOCH = 4  # a re-implementation says that the paper's tau is 4000 minibatches on CIFAR-10
RELABEL_FRACTION = 0.1
LABELLED_BYTES = 256 << 20  # of frames and their posteriors in a process at once; for what is more models come again
EXCHANGES = ("models", "posteriors")


class Ensemble(Algorithm):
    """Ensemble-compression (Sun, Chen, Bian, Liu & Liu, "EC-DNN", arXiv 1606.00575).

    name              symbol
    period            tau     minibatches from one ensemble to the next, those of the compression among them
    relabel_fraction          part of a worker's share that is given pseudo-labels, the ensemble's outputs, in a round
    compress          c       minibatches of a round on CE(labels) + lambda CE(pseudo-labels), from the worker's own
                              model; they are the first of a round
    parameters        w_k     never averaged

    Of frames, lambda and temperature this file knows nothing: see training/compression.py. What is relabelled are the
    frames that a worker is about to see, so with lambda = 0 it trains as if it were alone. A worker that is left out of
    a round (see meeting.py) goes on from the best one's model.
    """

    ensemble = True

    def __init__(
        self,
        period: int | None = None,
        relabel_fraction: float = RELABEL_FRACTION,
        compress: int | None = None,
        exchange: str = "models",
        top: int = TOP,
        overlap: bool = False,
    ) -> None:
        """Args:
            period: tau; None: a quarter of an epoch.
            compress: c; None: as many as are relabelled. With more they are seen again.
            exchange: "models": every worker labels frames of its own with all models, as in the paper; "posteriors":
                every worker labels the same frames with its own model, and tells the others its top posteriors.
            top: pdfs of a frame that are kept, see SoftLabels.
            overlap: models travel while workers train on, which delays the compression.

        Raises:
            ValueError: constants out of range.
        """
        super().__init__(period)
        if not 0 < relabel_fraction <= 1:
            raise ValueError(f"relabel_fraction {relabel_fraction}: expected above 0 and at most 1")
        if compress is not None and compress < 1:
            raise ValueError(f"compress_minibatches {compress}: expected at least 1")
        if exchange not in EXCHANGES:
            raise ValueError(f"unknown exchange {exchange!r}; expected one of {', '.join(EXCHANGES)}")
        if top < 1:
            raise ValueError(f"top {top}: expected at least 1 pdf")
        self.relabel_fraction, self.compress = relabel_fraction, compress
        self.exchange, self.top, self.lagging = exchange, top, overlap
        self.sent = 0  # bytes of one worker
        self.shared: dict[str, Tensor] = {}  # state of those who label, for checkpoints
        self.own: dict[str, Tensor] = {}

    def start(self, replicas: Replicas, group: WorkerGroup, minibatches_per_epoch: int = 1) -> None:
        super().start(replicas, group, minibatches_per_epoch)
        if self._period is None:
            self._period = max(1, minibatches_per_epoch // ROUNDS_PER_EPOCH)
        self.relabelled = int(self.relabel_fraction * minibatches_per_epoch + 1e-9)  # minibatches
        if not self.relabelled and group.num_workers > 1:  # one alone has nobody to learn from
            raise ValueError(
                f"relabel_fraction {self.relabel_fraction}: none of the {minibatches_per_epoch} minibatches of an"
                f" epoch; expected at least {1 / minibatches_per_epoch:.3g} and at most 1"
            )
        self.length = self.compress or max(1, min(self.relabelled, self._period))
        self.relabelled = min(self.relabelled, self.length)
        if self.length > self._period:
            raise ValueError(
                f"compress_minibatches {self.length}: expected at most the period, {self._period} minibatches"
            )
        self.kept = torch.ones(group.num_workers)
        self.shared["kept"] = self.kept

    @property
    def members(self) -> list[int]:
        """Workers whose models the last ensemble was made of."""
        return torch.nonzero(self.kept).flatten().tolist()

    def synchronize(self, replicas: Replicas, meeting: SyncInfo) -> None:
        self.kept.copy_(torch.from_numpy(meeting.kept))
        if meeting.kept.all():
            return
        loss = np.where(meeting.kept & np.isfinite(meeting.loss), meeting.loss, np.inf)
        best = int(np.argmin(loss)) if np.isfinite(loss).any() else self.members[0]
        model = self._model_of(best, replicas)
        self.sent += model.nbytes
        lost = [r for r, worker in enumerate(self.group.local_workers) if not meeting.kept[worker]]
        replicas.parameters[lost] = model
        replicas.parameters_changed()

    def global_model(self, replicas: Replicas, meeting: SyncInfo) -> Tensor:
        """The first worker of use, its's model: there is no mean of them."""
        return self._model_of(int(np.argmax(meeting.kept)), replicas)

    def _model_of(self, worker: int, replicas: Replicas) -> Tensor:
        source = self.group.rank_of(worker)
        own = self.group.local_workers.index(worker) if source == self.group.transport.rank else 0
        model = replicas.parameters[own].clone()
        self.group.transport.start_broadcast(model, source)()
        return model

    @property
    def bytes_per_worker(self) -> int:
        """Of what one worker has told all others so far: it gets num_workers - 1 times as much."""
        return self.sent

    def shared_state(self) -> dict[str, Tensor]:
        return self.shared

    def worker_state(self) -> dict[str, Tensor]:
        return self.own
