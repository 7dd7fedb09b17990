"""The options of a stack of RBMs, beside its data."""

from dataclasses import asdict, dataclass
from typing import Any

from asr_parallel.nnet.choices import DEVICES, PRECISIONS, WEIGHT_L2
from asr_parallel.parallel.registry import ALGORITHMS, entries, entry
from asr_parallel.parallel.worker_options import SHARES, WorkerOptions, split
from asr_parallel.record.options import check, option

DBN = "Kaldi steps/nnet/pretrain_dbn.sh"

# Kaldi nnetbin/rbm-train-cd1-frmshuff.cc
MOMENTUM_STEPS = 40
MOMENTUM_STEP_FRAMES = 500_000


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """RBMs; rates are of the mean gradient of a minibatch, as Kaldi's, and each worker's own."""

    layers: int = option(6, "RBMs; finished ones are kept, so more can come on top later", least=1, source=DBN)
    hidden_dim: int = option(2048, "hidden units of each", least=1, source=DBN)
    epochs: int = option(
        1, "passes over the data; twice as many for the first, Gaussian layer", least=1, source=DBN
    )  # fmt: skip
    rate_gaussian: float = option(
        0.01, "learning rate of the first layer, times 1 minus momentum", above=0, source=DBN
    )  # fmt: skip
    rate_bernoulli: float = option(0.4, "of the others, likewise", above=0, source=DBN)
    l2: float = option(WEIGHT_L2, "decay of the weights, times the rate", least=0, source="nnet/rbm.py")
    momentum_min: float = option(0.5, "at first", least=0, below=1, source="Kaldi nnet/nnet-trnopts.h")
    momentum_max: float = option(
        0.9, "after 20 million frames", least=0, below=1, source="Kaldi nnet/nnet-trnopts.h"
    )  # fmt: skip
    with_bug: bool = option(
        True, "apply momentum_max from the second minibatch on, as Kaldi does, while the rate follows the ramp"
    )  # fmt: skip
    minibatch: int = option(100, "frames", least=2, source="Kaldi nnetbin/rbm-train-cd1-frmshuff.cc")
    workers: int = option(1, "models that train on a share of the data each", least=1)
    algorithm: str = option("average", "what they do to each other's models", choices=ALGORITHMS)
    period: int | None = option(
        None, "minibatches of a worker between two synchronizations", least=1, unset="the algorithm's"
    )  # fmt: skip
    share_by: str = option("utterance", "what a worker gets whole", choices=SHARES)
    held_out: float = option(0.1, "share held out, for free energies", above=0, below=1)
    held_out_by: str = option("utterance", "unit that is held out whole", choices=SHARES)
    precision: str = option(
        "auto", "of products; auto: bf16 where the GPU or CPU has it in hardware", choices=PRECISIONS
    )  # fmt: skip
    device: str = option("auto", "auto: a GPU if there is one", choices=DEVICES)
    seed: int = option(0, "of everything random, but not of what is held out", least=0)

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        check(self)
        if self.momentum_min > self.momentum_max:
            raise ValueError(
                f"momentum_min {self.momentum_min}, momentum_max {self.momentum_max}: expected 0 <= min <= max < 1"
            )
        if not entry(self.algorithm).needs_models_alone:
            known = ", ".join(one.name for one in entries() if one.needs_models_alone)
            raise ValueError(
                f"algorithm {self.algorithm}: needs more of a training than workers' models; expected one that"
                f" needs_models_alone: {known}"
            )
        self.worker_options()

    def worker_options(self) -> tuple[WorkerOptions, Any]:
        """Return the options of the workers, and those of their algorithm."""
        return split(workers=self.workers, algorithm=self.algorithm, period=self.period, share_by=self.share_by)

    def scheduled_momentum(self, frames: int) -> float:
        """Return the ramp after `frames` frames of the layer, over all workers; the rate is scaled by 1 minus it."""
        share = min(1.0, momentum_step(frames) / MOMENTUM_STEPS)
        return self.momentum_min + share * (self.momentum_max - self.momentum_min)

    def momentum(self, frames: int) -> float:
        """Return the momentum that is applied."""
        return self.momentum_max if self.with_bug and frames > 0 else self.scheduled_momentum(frames)


def momentum_step(frames: int) -> int:
    """Return the step of the momentum after `frames` frames; Kaldi counts on when the ramp has ended."""
    return frames // MOMENTUM_STEP_FRAMES


def identity_of(options: PretrainOptions, layer: int) -> dict[str, Any]:
    """Return the options that decide a layer: how many come on top of it does not."""
    return {name: value for name, value in asdict(options).items() if name != "layers"} | {"layer": layer}
