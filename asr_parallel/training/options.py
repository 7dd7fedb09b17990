"""What decides a trained network, beside the data and the precision of its arithmetic."""

import argparse
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from asr_parallel.nnet.architectures import architectures, make_network, option_names
from asr_parallel.nnet.architectures.tdnn import SPLICE_INDEXES
from asr_parallel.nnet.hidden_layer import NONLINEARITIES
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import OPTIMIZERS
from asr_parallel.nnet.outputs import AVERAGES, Outputs
from asr_parallel.nnet.precision import PRECISIONS
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.parallel.options import WorkerOptions, algorithm_options
from asr_parallel.parallel.options import option_names as worker_option_names
from asr_parallel.parallel.registry import entries, entry
from asr_parallel.training.schedules import Constant, Cyclical, Exponential, Newbob, Schedule

SCHEDULES = ("exponential", "newbob", "constant", "cyclical")
PATHS = ("sites", "teacher", "start")  # options that name a file or a folder
PRIORS = ("counts", "posterior")
PRETRAININGS = ("none", "rbm")
PSEUDO_WEIGHT = 1.0  # Kaldi's ensemble training goes from 0.1 to 3 (nnet2/train-nnet-ensemble.cc, beta)
INITIALS = ("shared", "own")

# Initial effective learning rates per frame (Adam's: per minibatch), by optimiser and non-linearity
NNET1_RATE = 0.008  # Kaldi steps/nnet/train.sh, sigmoids with plain SGD
NNET2_RATE = 0.01  # Kaldi steps/nnet2/train_pnorm_accel2.sh
NNET3_RATE = 3e-4  # Kaldi steps/nnet3/train_dnn.py
ADAM_RATE = 1e-3  # Kingma & Ba, 2015
COMBINE = 20  # Kaldi steps/nnet3/train_dnn.py, max-models-combine
FINAL_SHARE = 0.1  # Kaldi steps/nnet3/train_dnn.py: 3e-4 to 3e-5


def default_rate(optimizer: str, nonlinearity: str) -> float:
    """Initial effective learning rate when none is given."""
    if optimizer == "adam":
        return ADAM_RATE
    if nonlinearity == "sigmoid":
        return NNET1_RATE
    if nonlinearity in ("tanh", "pnorm") and optimizer == "ng-sgd":
        return NNET2_RATE
    return NNET3_RATE


@dataclass(frozen=True)
class TrainingOptions(WorkerOptions):
    """All but the data. Names as on the command line of `asr-parallel train-dnn`, where each is explained."""

    constants: Any = None  # the algorithm's own options
    architecture: str = "dnn"  # see nnet/architectures/, which has the options of each
    splice_indexes: str = SPLICE_INDEXES
    hidden_layers: int = 3
    hidden_dim: int = 512
    nonlinearity: str = "relu-renorm"
    pnorm_group: int = 10
    optimizer: str = "ng-sgd"
    momentum: float = 0.9
    max_change: float = MaxChange().hidden  # Kaldi's limits, of any optimiser; 0: none; see nnet/max_change.py
    max_change_output: float = MaxChange().output
    max_param_change: float = MaxChange().whole
    schedule: str | None = None  # cyclical, with cycles that are rounds, for colearn; else exponential
    learning_rate: float | None = None  # initial, effective; default_rate() when not given
    final_learning_rate: float | None = None  # exponential and cyclical; FINAL_SHARE of the initial one when not given
    epochs: int = 8  # Kaldi steps/nnet3/train_dnn.py
    halve_from: int | None = None  # newbob, see training/schedules.py
    cycle_frames: int | None = None  # cyclical; an epoch, or a round of colearn, when not given
    minibatch: int = 512  # Kaldi steps/nnet3/train_dnn.py
    held_out: float = 0.1  # Kaldi nnet1's 90/10 split
    held_out_by: str = "utterance"
    channel_tilt: float = 0.0  # see training/augmentation.py
    channel_ripple: float = 0.0
    mask_filters: int = 0
    initial: str = "shared"  # own: every worker starts from random numbers of its own
    combine: int | None = None  # COMBINE; none of ensemble, whose workers are no mean
    keep_workers: bool | None = None  # as networks and as an ensemble; when not given only with algorithm ensemble
    ensemble_average: str = AVERAGES[0]  # see nnet/outputs.py
    teacher: str | None = None  # folder of a network or ensemble whose posteriors are learnt beside the labels
    start: str | None = None  # folder of a network to start from
    pseudo_weight: float = PSEUDO_WEIGHT  # lambda, of what ensemble or teacher say
    temperature: float = 1.0  # of that
    prior: str = "counts"
    pretrain: str = "none"  # rbm: the hidden layers begin as a stack of stage 5
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError naming an option out of range; the network's sizes and the split check their own."""
        self.check_workers()
        if self.constants is None:
            object.__setattr__(self, "constants", entry(self.algorithm).options())
        Outputs(self.ensemble_average, self.temperature)
        named = {
            "architecture": tuple(architectures()),
            "initial": INITIALS,
            "nonlinearity": NONLINEARITIES,
            "optimizer": OPTIMIZERS,
            "schedule": (None, *SCHEDULES),
        }
        for name, known in {**named, "prior": PRIORS, "pretrain": PRETRAININGS, "precision": PRECISIONS}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(filter(None, known))}"
                )
        for name, least in {
            "minibatch": 1,
            "epochs": 1,
            "combined": 0,
            "seed": 0,
            "mask_filters": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: expected a whole number of at least {least}")
        for name in ("channel_tilt", "channel_ripple", "max_change", "max_change_output", "max_param_change"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: expected a number of at least 0")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == float | None and value is not None and not value > 0:
                raise ValueError(f"{field.name} {value}: expected a number above 0")
        self._check_together()

    def _check_together(self) -> None:
        """Options that do not go with each other."""
        defaults, used = {field.name: field.default for field in fields(self)}, option_names(self.architecture)
        for name in architectures():
            for option in option_names(name):
                if option not in used and getattr(self, option) != defaults[option]:
                    raise ValueError(f"{option} is of no use to architecture {self.architecture}, only to {name}")
        chosen = entry(self.algorithm).cls
        taken_back = chosen.can_take_back_epochs and not self.overlap and not self.ema
        if self.resolved_schedule == "newbob" and not taken_back:
            raise ValueError(
                f"newbob takes epochs back: expected algorithm {_with('can_take_back_epochs')}, no overlap and no ema"
            )
        if chosen.ensemble and self.combine:
            raise ValueError(f"combine {self.combine}: the workers of an ensemble are never averaged; expected 0")
        if not 0 <= self.pseudo_weight < math.inf:
            raise ValueError(f"pseudo_weight {self.pseudo_weight}: expected a number of at least 0")
        taught = chosen.ensemble + (self.teacher is not None)
        if not taught and (self.temperature, self.pseudo_weight) != (1, PSEUDO_WEIGHT):
            raise ValueError("pseudo_weight and temperature are of no use without algorithm ensemble or a teacher")
        if taught > 1:
            raise ValueError("algorithm ensemble has its own teacher: expected no other one")
        if self.start is not None and (self.pretrain != "none" or self.initial != "shared"):
            raise ValueError("start: expected no pretraining and initial shared")
        own_models = chosen.own_initial_models and self.comm_dtype == "float32" and not self.overlap
        if self.initial == "own" and (not own_models or self.pretrain != "none"):
            raise ValueError(
                f"initial own: expected algorithm {_with('own_initial_models')}, comm_dtype float32, no overlap and no"
                " pretraining"
            )
        if self.keep_workers and chosen.shared_replica:
            raise ValueError(f"keep_workers: the workers of {self.algorithm} have one model in common")
        if self.keep_workers is False and chosen.ensemble:
            raise ValueError(
                f"keep_workers: the result of algorithm {self.algorithm} is its workers' models; expected to keep them"
            )
        if self.ensemble_average != AVERAGES[0] and not chosen.ensemble and not self.keep_workers:
            raise ValueError("ensemble_average is of no use without algorithm ensemble or keep_workers")
        if self.optimizer_state == "average" and self.optimizer in ("ng-sgd", "sgd"):
            raise ValueError(f"optimizer_state average: the state of {self.optimizer} has no mean; keep or reset it")

    def network_spec(self, frame_dim: int, context: int, num_pdfs: int) -> NetworkSpec:
        """Return the network that is trained, on frames with context on either side; ValueError for bad sizes."""
        return make_network(self.architecture, asdict(self), frame_dim, context, num_pdfs)

    @property
    def combined(self) -> int:
        """Models to combine at most, also when nothing was asked for."""
        if self.combine is not None:
            return self.combine
        return 0 if entry(self.algorithm).cls.ensemble else COMBINE

    @property
    def keeps_workers(self) -> bool:
        """Whether there are workers' own models, and they are wanted."""
        wanted = entry(self.algorithm).cls.ensemble if self.keep_workers is None else self.keep_workers
        return wanted and self.workers > 1

    @property
    def resolved_schedule(self) -> str:
        """The schedule, also when none was asked for."""
        return self.schedule or entry(self.algorithm).cls.default_schedule

    def limits(self) -> MaxChange | None:
        """Return the limits on how far a minibatch may move the parameters, by any optimiser; None: no limits."""
        given = (self.max_change, self.max_change_output, self.max_param_change)
        return MaxChange(*given) if any(given) else None

    def make_schedule(self, frames_per_epoch: int, num_jobs: float, untrained_loss: float) -> Schedule:
        """The learning rate's course.

        Args:
            frames_per_epoch: over all workers.
            num_jobs: by what the learning rate is above the effective one; workers whose parameters are averaged.
            untrained_loss: held-out loss before training.
        """
        first = self.learning_rate or default_rate(self.optimizer, self.nonlinearity)
        last = self.final_learning_rate or FINAL_SHARE * first
        total = self.epochs * frames_per_epoch
        if self.resolved_schedule == "exponential":
            return Exponential(
                total_frames=total, num_jobs=num_jobs, initial_effective_rate=first, final_effective_rate=last
            )
        if self.resolved_schedule == "constant":
            return Constant(total_frames=total, rate=num_jobs * first)
        if self.resolved_schedule == "cyclical":
            cycle = self.cycle_frames or (None if entry(self.algorithm).cls.rounds_of_epochs else frames_per_epoch)
            return Cyclical(total_frames=total, top=num_jobs * first, bottom=num_jobs * last, cycle_frames=cycle)
        return Newbob(
            rate=num_jobs * first, best_loss=untrained_loss, max_epochs=self.epochs, halve_from=self.halve_from
        )


def config_identity(options: TrainingOptions) -> dict[str, Any]:
    """Return the options that a network depends on, by name.

    What happens when a process is lost is not among them, and of files and folders what they hold counts, not where
    they are.
    """
    given = {**asdict(options), **asdict(options.constants)}
    return {name: value for name, value in given.items() if name not in ("constants", "fault_tolerant", *PATHS)}


def _with(trait: str) -> str:
    """Return the names of the algorithms that have a trait, for an error message."""
    *most, last = (one.name for one in entries() if getattr(one.cls, trait))
    return f"{', '.join(most)} or {last}" if most else last


def all_names() -> frozenset[str]:
    """Return the names of all options, those of every algorithm too."""
    return (worker_option_names() | {one.name for one in fields(TrainingOptions)}) - {"constants"}


def from_arguments(args: argparse.Namespace) -> TrainingOptions:
    """Return the options of a parsed command line of train-dnn."""
    return training_options(**{name: value for name, value in vars(args).items() if name in all_names()})


def training_options(**given: Any) -> TrainingOptions:
    """Return options from values by name; ValueError for an unknown name or a value out of range."""
    own = {one.name for one in fields(TrainingOptions)}
    if unknown := given.keys() - all_names():
        raise ValueError(f"unknown option {min(unknown)}")
    constants = algorithm_options(
        given.get("algorithm", TrainingOptions.algorithm),
        {name: value for name, value in given.items() if name not in own},
    )
    return TrainingOptions(**{name: value for name, value in given.items() if name in own}, constants=constants)
