"""Elastic averaging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr_parallel.parallel.algorithm import ALL_OPTIONS, Algorithm, Context
from asr_parallel.parallel.registry import register
from asr_parallel.parallel.sync_info import Sync, SyncInfo
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ElasticOptions:
    """Options of elastic averaging."""

    period: int = option(
        16, "minibatches of a worker between two synchronizations", least=1,
        source="the paper has 1 to 64; ours",
    )  # fmt: skip
    elastic_beta: float = option(
        0.9, "K times the part of its way to the center that a worker goes", above=0,
        source="Zhang, Choromanska & LeCun, section 5",
    )  # fmt: skip


@register(
    "elastic",
    options=ElasticOptions,
    paper="Zhang, Choromanska & LeCun, arXiv 1412.6651",
    rule="workers and a center model move towards each other",
    use="when workers are to stay different; with --optimizer nesterov it is EAMSGD",
)
class Elastic(Algorithm):
    """Synchronous elastic averaging SGD (Zhang, Choromanska & LeCun, arXiv 1412.6651, equations 5 and 6).

    Workers keep models of their own, which are drawn to a center.

    name          symbol
    beta          beta    alpha K
                  alpha   eta rho, a worker's share of the way to the center
    period        tau     minibatches between two exchanges
    parameters    x^i     x^i <- x^i - alpha (x^i - x~)
    center        x~      x~ <- x~ + alpha sum_i (x^i - x~) = (1 - beta) x~ + beta mean_i x^i

    Both from the values before the exchange, which leaves sum_i x^i + x~ as it is.

    An exchange comes after a local step, of the models that the step has led to. In equations 5 and 6, Algorithm 1 and
    mpiT both are from the x^i before the step: x^i <- x^i - eta g^i - alpha (x^i - x~), and x~ as if there were no
    step. So here a worker's newest step is in the center at once, there one exchange later; from the same x^i and x~
    ours differ from the paper's by +alpha eta g^i and -alpha eta sum_i g^i. No gradient is taken where a worker no
    longer is, and the paper's bound on alpha for both at once is not the one of `start`.

    With beta 0.9 the center follows at once: a tenth of its way to the workers' mean is left after an exchange. Workers
    follow slowly, alpha = beta / K: of its distance from the mean of all workers each keeps 1 - alpha in an exchange.
    With 32 workers 46 % are left after 27 exchanges.

    With Nesterov's momentum in the workers (--optimizer nesterov; the paper's delta is 0.99) it is EAMSGD. The final
    model is the center. Workers that have not trained since the last exchange take no part in it; one whose model is of
    no use starts again from the center. As all gradients end up in the center, divided by K + 1, the learning rate is K
    times the effective one; what limits leave of that: see average.py.
    """

    has_separate_global_model = True
    lr_scales_with_workers = True
    supports = ALL_OPTIONS - {"weights", "best_first"} | {"sync_first", "qsr_alpha"}

    def start(self, model: Tensor, context: Context) -> None:
        """Raise ValueError for an unstable beta.

        The exchange alone multiplies the distance of the workers' mean from the center by 1 - beta (1 + 1/K), which
        must not grow; so 0 < beta <= 2 / (1 + 1/K). Steps between exchanges that are stable by themselves do not
        tighten this. Where a step and the exchange are taken at once, from the same x^i, alpha <= (4 - 2 eta h) /
        (4 - eta h) in a direction of curvature h (section 3.1, round robin).
        """
        workers, beta = context.group.num_workers, self.options.elastic_beta
        most = 2 / (1 + 1 / workers)
        if not 0 < beta <= most:
            raise ValueError(
                f"elastic_beta {beta} with {workers} workers: expected above 0 and at most {most:.4g}; above that the"
                " center diverges"
            )
        self._alpha = beta / workers
        self.shared["center"] = model.clone()
        self._workspace: Tensor | None = None

    def weights(self, info: SyncInfo) -> np.ndarray:
        return info.active.astype(float)

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        import torch

        if self._workspace is None:
            self._workspace = torch.empty_like(params)  # once: new memory pages cost time
        center, mean = self.shared["center"], sync.mean()
        active, valid = sync.local(sync.active), sync.local(sync.valid)
        new_params = torch.lerp(params, center, self._alpha, out=self._workspace)
        if not active.all():
            new_params = torch.where(torch.tensor(active, device=params.device)[:, None], new_params, params)
        center.lerp_(mean, self._alpha * int(sync.active.sum()))
        if not valid.all():
            new_params = torch.where(torch.tensor(valid, device=params.device)[:, None], new_params, center)
        return new_params

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        return self.shared["center"]

    def init_reassigned_worker(self, params: Tensor, shared: Mapping[str, Tensor]) -> Tensor:
        return shared["center"]
