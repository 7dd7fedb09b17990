"""Block momentum: an outer optimiser on the mean of what the workers' models have moved."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_parallel.parallel.algorithm import Algorithm, Replicas
from asr_parallel.parallel.sync_info import SyncInfo, WorkerWeights
from asr_parallel.parallel.worker_group import WorkerGroup

PERIOD = 16  # minibatches; CNTK's 120,000 frames a worker ask for far more data; see recipes/swbd/RESULTS.md


@dataclass(frozen=True, slots=True)
class Outer:
    """Constants of an outer optimiser. momentum None: 1 - 1/K; follows_rate: its memory is in units of gradients."""

    rate: float
    momentum: float | None
    nesterov: bool
    follows_rate: bool = False


PRESETS = {
    "bmuf-nesterov": Outer(1.0, None, True),  # Chen & Huo, 2016, NBM; CNTK's default
    "bmuf": Outer(1.0, None, False),  # Chen & Huo, 2016, CBM
    "slowmo": Outer(1.0, 0.5, False, True),  # Wang et al., 2019: alpha 1 always best, beta 0.4 to 0.8; fairscale 0.5
    "diloco": Outer(0.7, 0.9, True),  # Douillard et al., 2023; tuned with AdamW as the inner optimiser
}


class BlockMomentum(Algorithm):
    """Blockwise model-update filtering (Chen & Huo, ICASSP 2016), of which SlowMo (Wang et al., arXiv 1910.00643) and
    DiLoCo (Douillard et al., arXiv 2311.08105) are other constants.

    name          symbol      SlowMo, DiLoCo
    mean          W'(t)                 mean of the workers' models at the end of a block
    dispatched    W_g(t-1)    x, theta  where the workers started the block
                  G(t)                  W'(t) - W_g(t-1); Delta = -G is DiLoCo's outer gradient
    momentum      eta         beta, mu  1 - 1/K unless given
    rate          zeta        alpha     of the outer optimiser; 1 with momentum 1 - 1/K makes K of a block's mean
    velocity      Delta(t)    u         Delta(t) = eta Delta(t-1) + zeta G(t)
    model         W(t)                  W(t) = W(t-1) + Delta(t)
                  W_g(t)                W(t), or with Nesterov W(t) + eta Delta(t)

    W and the dispatched point are two things: CNTK's code overwrites one by the other, by which constant gradients lead
    1 + eta times too far. The final model is W. G is of the mean; with CNTK's sum over workers and its factor 1 - eta
    the same rule has zeta = (1 - eta) K times its block learning rate. With torch.optim.SGD(nesterov=True) on the
    dispatched point, lr is zeta. The steady gain on G is zeta / (1 - eta): K by default, so the workers' learning rate
    is not scaled with K. SlowMo's memory is in units of gradients: when the workers' learning rate falls, what it
    remembers falls with it.
    """

    has_separate_global_model = True

    def __init__(
        self,
        outer: Outer,
        period: int = PERIOD,
        weighing: WorkerWeights | None = None,
        comm_dtype: str = "float32",
        overlap: bool = False,
    ) -> None:
        """ValueError: constants out of range."""
        super().__init__(period, weighing, comm_dtype, overlap)
        if not outer.rate > 0 or (outer.momentum is not None and not 0 <= outer.momentum < 1):
            raise ValueError(
                f"block rate {outer.rate}, block momentum {outer.momentum}: expected above 0, and at least 0 below 1"
            )
        self.outer = outer

    def start(self, replicas: Replicas, group: WorkerGroup, minibatches_per_epoch: int = 1) -> None:
        super().start(replicas, group, minibatches_per_epoch)
        self.momentum = 1 - 1 / group.num_workers if self.outer.momentum is None else self.outer.momentum
        self._model = replicas.parameters[0].clone()
        self._velocity = torch.zeros_like(self._model)
        self._dispatched = self._model.clone()
        self._rate = torch.zeros((), dtype=torch.float64)  # the workers', at the last meeting

    def merge(self, mean: Tensor, local_params: Tensor, meeting: SyncInfo) -> Tensor:
        eta = self.momentum
        kept = eta
        if self.outer.follows_rate and self._rate > 0:
            kept *= meeting.rate / float(self._rate)
        self._rate.fill_(meeting.rate)
        self._velocity.mul_(kept).add_(mean - self._dispatched, alpha=self.outer.rate)
        self._model.add_(self._velocity)
        self._dispatched.copy_(self._model)
        if self.outer.nesterov:
            self._dispatched.add_(self._velocity, alpha=eta)
        return self._dispatched

    def global_model(self, replicas: Replicas, meeting: SyncInfo) -> Tensor:
        return self._model

    def shared_state(self) -> Mapping[str, Tensor]:
        own = {"model": self._model, "velocity": self._velocity, "dispatched": self._dispatched, "rate": self._rate}
        return {**super().shared_state(), **own}
