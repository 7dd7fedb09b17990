"""EC-DNN's rule: workers' models stay apart; an invalid worker goes on from the best one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr_parallel.parallel.algorithm import Algorithm, Context
from asr_parallel.parallel.cost import Broadcast, Setting, StepCost, SyncCost
from asr_parallel.parallel.ecdnn.batches import Batches
from asr_parallel.parallel.ecdnn.compression import Compression, labelling_turns
from asr_parallel.parallel.ecdnn.soft_labels import TOP
from asr_parallel.parallel.registry import register
from asr_parallel.parallel.sync_info import Sync
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from asr_parallel.nnet.outputs import Outputs
    from asr_parallel.nnet.stacked import StackedNetwork

ROUNDS_PER_EPOCH = 4  # our own; a re-implementation says that the paper's tau is 4000 minibatches on CIFAR-10
EXCHANGES = ("models", "posteriors")
TEACHERS = ("all", "others")


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of EC-DNN. The paper's constants are not known; these are this project's own."""

    period: int | None = option(
        None, "minibatches of a worker between two synchronizations", least=1, unset="a quarter of an epoch"
    )
    relabel_fraction: float = option(0.1, "part of a worker's share that is relabelled in a round", above=0, most=1)
    compress_minibatches: int | None = option(
        None, "minibatches of a round on pseudo-labels too", least=1, unset="those relabelled"
    )
    exchange: str = option(
        "models", "what is sent: models, or top posteriors of frames that all workers label", choices=EXCHANGES
    )
    teachers: str = option(
        "all", "whose mean output a worker learns; others: without its own, as in co-distillation", choices=TEACHERS
    )
    top: int = option(TOP, "pdfs of a frame that pseudo-labels keep", least=1, source="benchmarks/RESULTS.md")

    def __post_init__(self) -> None:
        """Raise ValueError for teachers that cannot differ between workers."""
        if self.teachers == "others" and self.exchange == "posteriors":
            raise ValueError(f"teachers others: exchange {self.exchange} gives all the same labels; expected models")


@register(
    "ensemble",
    options=EnsembleOptions,
    paper="Sun, Chen, Bian, Liu & Liu, arXiv 1606.00575 (EC-DNN)",
    rule="workers stay different and learn pseudo-labels from the mean of all workers' outputs",
    use="an ensemble at decoding time; models that must not be averaged",
)
class Ensemble(Algorithm):
    """Ensemble-compression (Sun, Chen, Bian, Liu & Liu, "EC-DNN", arXiv 1606.00575).

    name                  symbol
    period                tau     minibatches from one ensemble to the next, those of the compression among them
    relabel_fraction              part of a worker's share that is given pseudo-labels, the ensemble's outputs, a round
    compress_minibatches  c       minibatches of a round on CE(labels) + lambda CE(pseudo-labels), from the worker's own
                                  model; they are the first of a round. More than are relabelled are seen again
    parameters            w_k     never averaged

    lambda and temperature are options of training with soft labels. The frames that a worker is about to see are
    relabelled, so with lambda = 0 it trains as if it were alone.

    teachers "others" is co-distillation (Anil, Pereyra, Passos, Ormandi, Dahl & Hinton, "Large scale distributed neural
    network training through online distillation", arXiv 1804.03235), whose models learn from stale copies of the others
    all the time: with compress_minibatches the period, so that no minibatch is without pseudo-labels, after a round
    without any. Its models are trained by a group of workers each, whose gradients are summed. Such a group of n is one
    worker here with minibatches of n times as many frames (algorithms/gradient.py). Where only one worker is valid, it
    has itself for a teacher.

    exchange "models": every worker labels frames of its own with all models, as in the paper; "posteriors": every
    worker labels the same frames with its own model, and sends the others its top posteriors. With overlap models are
    sent while workers train on, which delays the compression.
    """

    ensemble = True
    own_initial_models = True
    supports = frozenset({"drop_worse", "overlap"})
    uses_means = False

    def start(self, model: Tensor, context: Context) -> None:
        import torch

        group, per_epoch, options = context.group, context.minibatches_per_epoch, self.options
        self.group, self.epochs, self.overlap = group, context.epochs, context.overlap
        self._period = options.period or max(1, per_epoch // ROUNDS_PER_EPOCH)
        self.relabelled = int(options.relabel_fraction * per_epoch + 1e-9)  # minibatches
        if not self.relabelled and group.num_workers > 1:  # one alone has nobody to learn from
            raise ValueError(
                f"relabel_fraction {options.relabel_fraction}: none of the {per_epoch} minibatches of an epoch;"
                f" expected at least {1 / per_epoch:.3g} and at most 1"
            )
        self.length = options.compress_minibatches or max(1, min(self.relabelled, self._period))
        self.relabelled = min(self.relabelled, self.length)
        if self.length > self._period:
            raise ValueError(
                f"compress_minibatches {self.length}: expected at most the period, {self._period} minibatches"
            )
        self.shared["valid"] = torch.ones(group.num_workers)

    @property
    def period(self) -> int | None:
        """Minibatches of a worker from one ensemble to the next; None before the start, where it is not given."""
        period: int | None = getattr(self, "_period", self.options.period)
        return period

    @property
    def members(self) -> list[int]:
        """Workers whose models the last ensemble was made of."""
        import torch

        return torch.nonzero(self.shared["valid"]).flatten().tolist()

    @property
    def taught_by_others(self) -> bool:
        """True when a worker's own output is no part of what it learns."""
        return self.options.teachers == "others" and len(self.members) > 1

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        import torch

        self.shared["valid"].copy_(torch.from_numpy(sync.valid))
        if sync.valid.all():
            return params
        loss = np.where(sync.valid & np.isfinite(sync.loss), sync.loss, np.inf)
        best = int(np.argmin(loss)) if np.isfinite(loss).any() else self.members[0]
        model = sync.receive(best)
        self.own_bytes += model.nbytes
        new_params = params.clone()
        new_params[~sync.local(sync.valid)] = model
        return new_params

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        """Return the first valid worker's model: there is no mean."""
        return sync.receive(int(np.argmax(sync.valid)))

    def training_hook(  # type: ignore[override]
        self,
        *,
        network: StackedNetwork,
        batches: Batches,
        all_frames: Callable[[], Batches],
        outputs: Outputs,
        weight: float,
    ) -> Compression:
        """Return the hook that makes pseudo-labels and trains on them.

        Args:
            batches: of this process's workers.
            all_frames: makes those of one more worker, who has all frames.
            outputs: how the models' outputs are averaged, and at which temperature.
            weight: lambda, of the pseudo-labels' loss.
        """
        in_common = all_frames() if self.options.exchange == "posteriors" else None
        return Compression(self, outputs, weight, network, batches, in_common)

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        """Return the cost of a round, see Compression.

        Models come by one after the other. While one labels, the next is sent, with overlap during a minibatch of
        training too. Where what is to be labelled does not fit into LABELLED_BYTES, all come by again for the rest.
        Posteriors: all workers label at the same time, then they send. The compression is training.
        """
        options, workers = self.options, setting.workers
        period = options.period or max(1.0, setting.minibatches / ROUNDS_PER_EPOCH)
        relabelled = min(options.relabel_fraction * setting.minibatches, options.compress_minibatches or period, period)
        models = options.exchange == "models"
        turns = labelling_turns(
            int(relabelled + 1e-9), work.label_bytes * (workers if models and setting.overlap else 1)
        )
        by_one, topk = relabelled * work.forward_seconds, relabelled * work.topk_seconds
        if not models:  # each worker keeps the top of its own posteriors, and of the sum
            size = 4.0 * options.top * relabelled * work.minibatch / turns
            aggregate = workers * relabelled * work.aggregate_seconds
            return SyncCost(
                period, broadcasts=(Broadcast(size, turns * workers),), label_seconds=by_one,
                common_label_seconds=aggregate + 2 * topk,
            )  # fmt: skip
        size = 4.0 * work.parameters
        hidden = by_one / turns + (work.step_seconds if setting.overlap else 0.0)
        sent = (Broadcast(size, turns), Broadcast(size, turns * (workers - 1), hidden))
        teachers = workers - (options.teachers == "others")
        return SyncCost(period, broadcasts=sent, label_seconds=teachers * by_one + topk)
