"""Co-learning: workers are sites whose data stay where they are."""

from collections.abc import Mapping

import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.sync_info import SyncInfo, WorkerWeights
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.log import logger

LOCAL_EPOCHS = 1  # the paper's first number could not be found
THRESHOLD = 0.1  # relative change of the average; the paper's epsilon could not be found; see recipes/swbd/RESULTS.md


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

    def __init__(
        self,
        epochs: int,
        local_epochs: int = LOCAL_EPOCHS,
        threshold: float = THRESHOLD,
        weighing: WorkerWeights | None = None,
        comm_dtype: str = "float32",
    ) -> None:
        """Args:
            epochs: of the whole training.

        Raises:
            ValueError: numbers out of range.
        """
        if not 1 <= local_epochs <= epochs or not threshold >= 0:
            raise ValueError(
                f"local epochs {local_epochs}, threshold {threshold}: expected 1 to the {epochs} of the training, and"
                " at least 0"
            )
        super().__init__(1, weighing, comm_dtype)
        self.epochs, self.local_epochs, self.threshold = epochs, local_epochs, threshold

    def worker_lr_scale(self, num_workers: int) -> float:
        """As for other averages; the paper's could not be found."""
        return float(num_workers)

    def start(self, replicas: Replicas, group: WorkerGroup, minibatches_per_epoch: int = 1) -> None:
        super().start(replicas, group, minibatches_per_epoch)
        self._per_epoch = minibatches_per_epoch
        self._previous = replicas.parameters[0].clone()
        self._progress = torch.tensor([self.local_epochs, self.epochs])  # T_i as doubled; epochs left, round i's too

    @property
    def round_epochs(self) -> int:  # type: ignore[override]  # as an attribute, read alone
        """Local epochs of the round that is under way."""
        return max(1, int(self._progress.min()))

    @property
    def period(self) -> int | None:
        return self.round_epochs * self._per_epoch

    def merge(self, mean: Tensor, local_params: Tensor, meeting: SyncInfo) -> Tensor:
        change = float((mean - self._previous).norm() / self._previous.norm())
        self._previous.copy_(mean)
        done = self.round_epochs
        self._progress[1] -= done
        if self.threshold > 0 and change <= self.threshold:
            self._progress[0] *= 2
        if int(self._progress[1]) > 0:
            logger.info(
                "round %d of %d local epoch(s): the average moved by %.3g of its length; %d in the next",
                meeting.number + 1, done, change, self.round_epochs,
            )  # fmt: skip
        return mean

    def shared_state(self) -> Mapping[str, Tensor]:
        return {**super().shared_state(), "previous": self._previous, "progress": self._progress}
