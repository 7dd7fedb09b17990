"""What decides a stack of RBMs, beside the data and the precision of its arithmetic."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from asr_parallel.nnet.precision import PRECISIONS
from asr_parallel.nnet.rbm import WEIGHT_L2
from asr_parallel.parallel.options import WorkerOptions, split

ALGORITHMS = ("average", "none")  # of those in parallel/

# Kaldi nnetbin/rbm-train-cd1-frmshuff.cc
MOMENTUM_STEPS = 40
MOMENTUM_STEP_FRAMES = 500_000


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """All but the data. with_bug: Kaldi's momentum_max in every minibatch but the first, whatever the ramp says."""

    layers: int = 6  # Kaldi steps/nnet/pretrain_dbn.sh, this and the next four
    hidden_dim: int = 2048
    epochs: int = 1  # the first, Gaussian layer gets twice as many
    rate_gaussian: float = 0.01
    rate_bernoulli: float = 0.4
    l2: float = WEIGHT_L2
    momentum_min: float = 0.5  # Kaldi nnet/nnet-trnopts.h, this and the next two
    momentum_max: float = 0.9
    with_bug: bool = True
    minibatch: int = 100  # Kaldi nnetbin/rbm-train-cd1-frmshuff.cc
    workers: int = 1  # K
    algorithm: str = "average"  # see parallel/; rates are each worker's own, whatever the algorithm
    period: int | None = None  # minibatches between two synchronizations; the algorithm's own when not given
    share_by: str = "utterance"  # what a worker gets whole
    held_out: float = 0.1
    held_out_by: str = "utterance"
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"layers": 1, "hidden_dim": 1, "epochs": 1, "minibatch": 2, "workers": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: expected a whole number of at least {least}")
        for name in ("rate_gaussian", "rate_bernoulli"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: expected a number above 0")
        if not 0 <= self.l2 < math.inf:
            raise ValueError(f"l2 {self.l2}: expected a number of at least 0")
        if not 0 <= self.momentum_min <= self.momentum_max < 1:
            raise ValueError(
                f"momentum_min {self.momentum_min}, momentum_max {self.momentum_max}: expected 0 <= min <= max < 1"
            )
        if self.period is not None and self.period < 1:
            raise ValueError(f"period {self.period}: expected a whole number of at least 1")
        for name, known in {"precision": PRECISIONS, "algorithm": ALGORITHMS}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(known)}")
        self.worker_options()

    def worker_options(self) -> tuple[WorkerOptions, Any]:
        """Return the options of the workers, and those of their algorithm."""
        return split(workers=self.workers, algorithm=self.algorithm, period=self.period, share_by=self.share_by)

    def scheduled_momentum(self, frames: int) -> float:
        """The ramp after `frames` frames of the layer, over all workers; the rate is scaled by 1 minus it."""
        share = min(1.0, momentum_step(frames) / MOMENTUM_STEPS)
        return self.momentum_min + share * (self.momentum_max - self.momentum_min)

    def momentum(self, frames: int) -> float:
        """The momentum that is applied."""
        return self.momentum_max if self.with_bug and frames > 0 else self.scheduled_momentum(frames)


def momentum_step(frames: int) -> int:
    """Number of the momentum's step after `frames` frames; Kaldi goes on counting when the ramp has ended."""
    return frames // MOMENTUM_STEP_FRAMES


def identity_of(options: PretrainOptions, layer: int) -> dict[str, Any]:
    """The options that decide a layer: how many come on top of it does not."""
    return {name: value for name, value in asdict(options).items() if name != "layers"} | {"layer": layer}
