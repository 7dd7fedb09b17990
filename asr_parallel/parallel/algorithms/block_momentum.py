"""Block momentum: an outer optimiser on the mean of what the workers' models have moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_parallel.parallel.algorithm import ALL_OPTIONS, Algorithm, Context
from asr_parallel.parallel.registry import register
from asr_parallel.parallel.sync_info import Sync
from asr_parallel.record.options import option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outer:
    """Constants of an outer optimiser. momentum None: 1 - 1/K; follows_lr: its velocity is in units of gradients."""

    rate: float
    momentum: float | None
    nesterov: bool
    follows_lr: bool = False


PRESETS = {
    "bmuf-nesterov": Outer(1.0, None, True),  # Chen & Huo, 2016, NBM; CNTK's default
    "bmuf": Outer(1.0, None, False),  # Chen & Huo, 2016, CBM
    "slowmo": Outer(1.0, 0.5, False, True),  # Wang et al., 2019: alpha 1 always best, beta 0.4 to 0.8; fairscale 0.5
    "diloco": Outer(0.7, 0.9, True),  # Douillard et al., 2023; tuned with AdamW as the inner optimiser
}


@dataclass(frozen=True)
class BlockMomentumOptions:
    """Options of block momentum."""

    period: int = option(
        16, "minibatches of a worker between two synchronizations", least=1,
        source="CNTK's 120,000 frames a worker ask for far more data; ours",
    )  # fmt: skip
    outer: str = option("bmuf-nesterov", "outer optimiser", choices=tuple(PRESETS), source="CNTK's default")
    outer_rate: float | None = option(None, "learning rate of the outer optimiser", above=0, unset="that of --outer")
    outer_momentum: float | None = option(
        None, "momentum of the outer optimiser", least=0, below=1, unset="that of --outer; bmuf: 1 - 1/K"
    )


@register(
    "block-momentum",
    options=BlockMomentumOptions,
    paper="Chen & Huo, ICASSP 2016 (BMUF); SlowMo, arXiv 1910.00643; DiLoCo, arXiv 2311.08105",
    rule="an outer optimiser with momentum steps by how far the mean of all models has moved",
    use="many workers and long periods",
)
class BlockMomentum(Algorithm):
    """Blockwise model-update filtering (Chen & Huo, ICASSP 2016).

    SlowMo (Wang et al., arXiv 1910.00643) and DiLoCo (Douillard et al., arXiv 2311.08105) are other constants of it.

    name          symbol      SlowMo, DiLoCo
    mean          W'(t)                 mean of the workers' models at the end of a block
    dispatched    W_g(t-1)    x, theta  where the workers started the block
                  G(t)                  W'(t) - W_g(t-1); Delta = -G is DiLoCo's outer gradient
    outer_momentum eta        beta, mu  1 - 1/K unless given
    outer_rate    zeta        alpha     of the outer optimiser; 1 with momentum 1 - 1/K makes K of a block's mean
    velocity      Delta(t)    u         Delta(t) = eta Delta(t-1) + zeta G(t)
    model         W(t)                  W(t) = W(t-1) + Delta(t)
                  W_g(t)                W(t), or with Nesterov W(t) + eta Delta(t)

    W and the dispatched point are two things: CNTK's code overwrites one by the other, by which constant gradients lead
    1 + eta times too far. The final model is W. G is of the mean; with CNTK's sum over workers and its factor 1 - eta
    the same rule has zeta = (1 - eta) K times its block learning rate. With torch.optim.SGD(nesterov=True) on the
    dispatched point, lr is zeta. The steady gain on G is zeta / (1 - eta): K by default, so the workers' learning rate
    is not scaled with K. SlowMo's memory is in units of gradients: when the workers' learning rate falls, what it
    remembers falls with it. One worker without momentum and with a rate below 1 is Lookahead (Zhang, Lucas, Hinton &
    Ba, arXiv 1907.08610; alpha the rate, k the period).
    """

    has_separate_global_model = True
    resets_momentum = True
    supports = ALL_OPTIONS | {"qsr_alpha"}

    def start(self, model: Tensor, context: Context) -> None:
        import torch

        self._preset = PRESETS[self.options.outer]
        self.rate, self.momentum = self._rate(), self._momentum(context.group.num_workers)
        self.shared |= {
            "model": model.clone(),
            "velocity": torch.zeros_like(model),
            "dispatched": model.clone(),
            "lr": torch.zeros((), dtype=torch.float64),  # of the workers, at the last synchronization
        }

    def least_frames(self, num_workers: int, minibatch: int) -> int:
        """Return what the velocity remembers: frames of 1 / (1 - momentum) blocks of all workers.

        With momentum 1 - 1/K it is CNTK's rule, period x minibatch x K^2 (documentation, Multiple GPUs and machines).
        """
        block: int = self.options.period * minibatch * num_workers
        return round(block / (1 - self._momentum(num_workers)))

    def leaves_one_worker(self) -> bool:
        return self._rate() == 1 and self._momentum(1) == 0

    def _rate(self) -> float:
        given: float | None = self.options.outer_rate
        return PRESETS[self.options.outer].rate if given is None else given

    def _momentum(self, num_workers: int) -> float:
        momentum = PRESETS[self.options.outer].momentum
        if self.options.outer_momentum is not None:
            momentum = self.options.outer_momentum
        return 1 - 1 / num_workers if momentum is None else momentum

    def merge(self, params: Tensor, sync: Sync) -> Tensor:
        model, velocity, dispatched, lr = (self.shared[name] for name in ("model", "velocity", "dispatched", "lr"))
        decay = self.momentum
        if self._preset.follows_lr and lr > 0:
            decay *= sync.lr / float(lr)
        lr.fill_(sync.lr)
        velocity.mul_(decay).add_(sync.mean() - dispatched, alpha=self.rate)
        model.add_(velocity)
        dispatched.copy_(model)
        if self._preset.nesterov:
            dispatched.add_(velocity, alpha=self.momentum)
        return dispatched

    def global_model(self, params: Tensor, sync: Sync) -> Tensor:
        return self.shared["model"]
