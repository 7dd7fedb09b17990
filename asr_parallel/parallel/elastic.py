"""Elastic averaging."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.sync_info import SyncInfo
from asr_parallel.parallel.worker_group import WorkerGroup

BETA = 0.9  # Zhang, Choromanska & LeCun, section 5; alpha is then 0.9 / K
PERIOD = 16  # minibatches; the paper has 1 to 64; see recipes/swbd/RESULTS.md


class Elastic(Algorithm):
    """Synchronous elastic averaging SGD (Zhang, Choromanska & LeCun, arXiv 1412.6651, equations 5 and 6): workers keep
    models of their own, which a spring ties to a centre.

    name          symbol
    beta          beta    alpha K
                  alpha   eta rho, a worker's share of the way to the centre
    period        tau     minibatches between two exchanges
    parameters    x^i     x^i <- x^i - alpha (x^i - x~)
    centre        x~      x~ <- x~ + alpha sum_i (x^i - x~) = (1 - beta) x~ + beta mean_i x^i

    Both from the values before the exchange, which leaves sum_i x^i + x~ as it is.

    An exchange comes after a local step, of the models that the step has led to. In equations 5 and 6, Algorithm 1 and
    mpiT both are from the x^i before the step: x^i <- x^i - eta g^i - alpha (x^i - x~), and x~ as if there were no
    step. So here a worker's newest step is in the centre at once, there one exchange later; from the same x^i and x~
    ours differ from the paper's by +alpha eta g^i and -alpha eta sum_i g^i. No gradient is taken where a worker no
    longer is, and the paper's bound on alpha for both at once is not the one of `start`.

    With beta 0.9 the centre follows at once: a tenth of its way to the workers' mean is left after an exchange. It is
    the workers' springs that are weak, alpha = beta / K: of its distance from the mean of all workers each keeps
    1 - alpha in an exchange. With 32 workers 46 % are left after 27 exchanges.

    With Nesterov's momentum in the workers (--optimizer nesterov; the paper's delta is 0.99) it is EAMSGD. The final
    model is the centre. Workers that have not trained since the last exchange take no part in it; one whose model is of
    no use starts again from the centre. As all gradients end up in the centre, divided by K + 1, the learning rate is K
    times the effective one; what limits leave of that: see average.py.
    """

    has_separate_global_model = True

    def __init__(
        self, beta: float = BETA, period: int = PERIOD, comm_dtype: str = "float32", overlap: bool = False
    ) -> None:
        super().__init__(period, None, comm_dtype, overlap)
        self.beta = beta

    def worker_lr_scale(self, num_workers: int) -> float:
        return float(num_workers)

    def start(self, replicas: Replicas, group: WorkerGroup, minibatches_per_epoch: int = 1) -> None:
        """ValueError: an unstable beta. The exchange alone multiplies the distance of the workers' mean from the
        centre by 1 - beta (1 + 1/K), which must not grow; so 0 < beta <= 2 / (1 + 1/K). Steps between exchanges that
        are stable by themselves do not tighten this. Where a step and the exchange are taken at once, from the same
        x^i, alpha <= (4 - 2 eta h) / (4 - eta h) in a direction of curvature h (section 3.1, round robin).
        """
        most = 2 / (1 + 1 / group.num_workers)
        if not 0 < self.beta <= most:
            raise ValueError(
                f"elastic beta {self.beta} with {group.num_workers} workers: expected above 0 and at most {most:.4g},"
                " from where the centre swings ever further"
            )
        super().start(replicas, group, minibatches_per_epoch)
        self._centre = replicas.parameters[0].clone()
        self._room = torch.empty_like(replicas.parameters)  # once: to be given new pages each time is dear

    def weights(self, meeting: SyncInfo) -> np.ndarray:
        return meeting.present.astype(float)

    def merge(self, mean: Tensor, local_params: Tensor, meeting: SyncInfo) -> Tensor:
        alpha = self.beta / self.group.num_workers
        own = list(self.group.local_workers)
        here, kept = (
            torch.tensor(flags[own], device=local_params.device)[:, None] for flags in (meeting.present, meeting.kept)
        )
        new_params = torch.lerp(local_params, self._centre, alpha, out=self._room)
        if not meeting.present[own].all():
            new_params = torch.where(here, new_params, local_params)
        self._centre.lerp_(mean, alpha * int(meeting.present.sum()))
        return new_params if meeting.kept[own].all() else torch.where(kept, new_params, self._centre)

    def known(self, new_params: Tensor) -> Tensor:
        return self._centre

    def global_model(self, replicas: Replicas, meeting: SyncInfo) -> Tensor:
        return self._centre

    def init_reassigned_worker(self, parameters: Tensor, shared: Mapping[str, Tensor]) -> Tensor:
        return shared["centre"]

    def shared_state(self) -> Mapping[str, Tensor]:
        return {**super().shared_state(), "centre": self._centre}
