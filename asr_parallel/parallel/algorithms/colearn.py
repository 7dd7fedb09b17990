"""Co-learning: workers are sites whose data stay where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.algorithm import ALL_OPTIONS, Algorithm, Context
from asr_parallel.parallel.cost import Setting, StepCost, SyncCost
from asr_parallel.parallel.registry import register
from asr_parallel.parallel.sync_info import Sync
from asr_parallel.record.log import logger
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CoLearningOptions:
    """Options of co-learning."""

    local_epochs: int = option(
        1, "local epochs of the first rounds", least=1, source="the paper's first number could not be found"
    )
    colearn_threshold: float = option(
        0.1, "relative change of the average up to which local epochs are doubled; 0: never", least=0,
        source="ours; the paper's epsilon could not be found",
    )  # fmt: skip


@register(
    "colearn",
    options=CoLearningOptions,
    paper="Xu et al., arXiv 1810.06877",
    rule="sites train for whole epochs of their own data, then average",
    use="data that must not leave their sites; slow networks",
)
class CoLearning(Algorithm):
    """Co-learning among data centres (Xu et al., arXiv 1810.06877): rounds of whole local epochs, then an average.

    name          symbol
    local_epochs  T_i     each site's passes over its own data in round i
    previous      w_i-1   the average that all sites start round i from
    threshold     eps     T_i+1 = 2 T_i when ||w_i - w_i-1|| <= eps ||w_i-1||, else T_i; 0: never
    parameters    w_i^k   w_i = sum_k n_k w_i^k / sum_k n_k, by the frames n_k of the sites (the paper's are equally
                          large, for which this is its plain mean)

    The learning rate starts anew in each round (training/schedules.py, Cyclical, which follows the rounds). Nothing but
    parameters travels. The last round is cut short when the epochs of the training end within it.
    """

    resets_momentum = True
    rounds_of_epochs = True
    lr_scales_with_workers = True  # as for other averages; the paper's rates could not be found
    default_schedule = "cyclical"
    default_share_by = "speaker"
    supports = ALL_OPTIONS - {"overlap"}

    def start(self, model: Tensor, context: Context) -> None:
        import torch

        if self.options.local_epochs > context.epochs:
            raise ValueError(
                f"local_epochs {self.options.local_epochs}: expected at most {context.epochs}, those of the training"
            )
        self._per_epoch = context.minibatches_per_epoch
        # local_epochs, as doubled; epochs left, those of the present round too
        progress = torch.tensor([self.options.local_epochs, context.epochs])
        self.shared |= {"previous": model.clone(), "progress": progress}

    @property
    def round_epochs(self) -> int:  # type: ignore[override]  # as an attribute, read alone
        """Local epochs of the present round."""
        return max(1, int(self.shared["progress"].min()))

    @property
    def period(self) -> int | None:
        """Minibatches of a worker in the present round; None before the start."""
        return self.round_epochs * self._per_epoch if self.shared else None

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        previous, progress, mean = self.shared["previous"], self.shared["progress"], sync.mean()
        change = float((mean - previous).norm() / previous.norm())
        previous.copy_(mean)
        done = self.round_epochs
        progress[1] -= done
        if self.options.colearn_threshold > 0 and change <= self.options.colearn_threshold:
            progress[0] *= 2
        if int(progress[1]) > 0:
            logger.info(
                "round %d of %d local epoch(s): the average moved by %.3g of its length; %d in the next",
                sync.index + 1, done, change, self.round_epochs,
            )  # fmt: skip
        return mean

    def cost(self, work: StepCost, setting: Setting) -> SyncCost:
        return SyncCost(self.options.local_epochs * setting.minibatches, means=1)
