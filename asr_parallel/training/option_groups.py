"""The groups of options of a training, apart from those of architectures, algorithms and workers."""

from dataclasses import dataclass

from asr_parallel.nnet.architectures import ARCHITECTURES
from asr_parallel.nnet.choices import AVERAGES, DEVICES, OPTIMIZERS, PRECISIONS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.parallel.worker_options import SHARES
from asr_parallel.record.options import Checked, option

SCHEDULES = ("exponential", "newbob", "constant", "cyclical")
PSEUDO_WEIGHT = 1.0

COMBINE = 20  # Kaldi steps/nnet3/train_dnn.py, max-models-combine
COMBINE_EPOCHS = 0.5  # Kaldi steps/libs/nnet3/train/common.py
FINAL_SHARE = 0.1  # Kaldi steps/nnet3/train_dnn.py: 3e-4 to 3e-5


@dataclass(frozen=True)
class NetworkOptions(Checked):
    """Network."""

    architecture: str = option("dnn", "kind of network", choices=ARCHITECTURES, task=True)
    initial: str = option("shared", "own: workers start from different random numbers", choices=("shared", "own"))
    pretrain: str = option(
        "none", "rbm: the hidden layers begin as the RBMs of --rbm", choices=("none", "rbm"), task=True
    )
    start: str | None = option(None, "network to start from, of the same shape", metavar="DIR", path=True, task=True)


@dataclass(frozen=True)
class OptimizationOptions(Checked):
    """Optimiser; gradients are summed over frames, so learning rates are per frame."""

    optimizer: str = option("ng-sgd", "ng-sgd is Kaldi's natural gradient", choices=OPTIMIZERS)
    momentum: float = option(0.9, "of momentum and nesterov", above=0)
    minibatch: int = option(512, "frames", least=1, source="Kaldi steps/nnet3/train_dnn.py")
    max_change: float = option(
        MaxChange().hidden, "longest step of a hidden layer in a minibatch, by any optimizer; 0: no limit", least=0,
        source="Kaldi xconfig, max-change of a layer",
    )  # fmt: skip
    max_change_output: float = option(
        MaxChange().output, "the same of the output layer", least=0, source="Kaldi xconfig, output layer"
    )
    max_param_change: float = option(
        MaxChange().whole, "the same of all layers together", least=0, source="Kaldi steps/nnet3/train_dnn.py"
    )

    def limits(self) -> MaxChange | None:
        """Return the limits on how far a minibatch may move the parameters, by any optimiser; None: no limits."""
        given = (self.max_change, self.max_change_output, self.max_param_change)
        return MaxChange(*given) if any(given) else None


@dataclass(frozen=True)
class ScheduleOptions(Checked):
    """Schedule."""

    schedule: str | None = option(
        None, "of the learning rate", choices=SCHEDULES, unset="the algorithm's, exponential for most"
    )
    learning_rate: float | None = option(
        None,
        "at first, effective",
        above=0,
        unset="by optimizer and nonlinearity",
        source="default_rate of nnet/optimizer.py and nnet/ng_sgd.py",
    )
    final_learning_rate: float | None = option(
        None, "exponential, cyclical", above=0, unset="a tenth of the first", source="Kaldi steps/nnet3/train_dnn.py"
    )
    epochs: int = option(8, "passes over the data; newbob: at most", least=1, source="Kaldi steps/nnet3/train_dnn.py")
    halve_from: int | None = option(None, "newbob: halve from this epoch on at the latest", least=0)
    cycle_frames: int | None = option(
        None, "cyclical: frames of a cycle", least=1, unset="an epoch; colearn: the epochs between two synchronizations"
    )


@dataclass(frozen=True)
class DataOptions(Checked):
    """Data."""

    held_out: float = option(
        0.1, "share held out for cross-validation", above=0, below=1, task=True, source="Kaldi nnet1's 90/10 split"
    )
    held_out_by: str = option("utterance", "unit that is held out whole", choices=SHARES, task=True)
    train_share: float = option(
        1.0, "part of the others to train on; smaller parts lie in larger ones", above=0, most=1, task=True
    )
    channel_tilt: float = option(0.0, "random slope of the spectrum, deviation", least=0, task=True)
    channel_ripple: float = option(0.0, "random change of each filter, deviation", least=0, task=True)
    mask_filters: int = option(0, "widest random band set to zero, in filters", least=0, task=True)
    seed: int = option(0, "of everything random, but not of what is held out", least=0)


@dataclass(frozen=True)
class SoftLabelOptions(Checked):
    """Soft labels: a second loss, of algorithm ensemble or against a teacher."""

    teacher: str | None = option(
        None, "network or ensemble whose posteriors are learnt too", metavar="DIR", path=True, task=True
    )
    pseudo_weight: float = option(
        PSEUDO_WEIGHT, "lambda, of that loss", least=0,
        source="Kaldi nnet2/train-nnet-ensemble.cc, beta, goes from 0.1 to 3",
    )  # fmt: skip
    temperature: float = option(1.0, "of the posteriors on both sides", above=0)


@dataclass(frozen=True)
class FinalModelOptions(Checked):
    """Final model."""

    combine: int | None = option(
        None, "average up to so many of the last models, as many as do best on held-out data", least=0,
        unset=f"{COMBINE}; ensemble: 0", source="Kaldi steps/nnet3/train_dnn.py",
    )  # fmt: skip
    combine_epochs: float | None = option(
        None, "epochs before the end in which these models lie, at most half of the training", above=0,
        unset=f"{COMBINE_EPOCHS:g}", source="Kaldi steps/libs/nnet3/train/common.py",
    )  # fmt: skip
    keep_workers: bool | None = option(
        None, "OUT/ensemble: every worker's model, and all as one", unset="with algorithm ensemble"
    )
    ensemble_average: str = option(AVERAGES[0], "of the workers' outputs", choices=AVERAGES)
    prior: str = option(
        "counts", "from the alignments' counts or the model's mean posterior", choices=("counts", "posterior"),
        task=True,
    )  # fmt: skip


@dataclass(frozen=True)
class MachineOptions(Checked):
    """Machine."""

    precision: str = option(
        "auto", "of products; auto: bf16 where the GPU or CPU has it in hardware", choices=PRECISIONS, task=True
    )
    device: str = option("auto", "auto: a GPU if there is one", choices=DEVICES, task=True)
