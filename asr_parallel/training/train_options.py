"""The options of a training, beside its data: all that decides a trained network."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from asr_parallel.nnet.architectures import architectures, make_network
from asr_parallel.nnet.architectures.dnn import DnnOptions
from asr_parallel.nnet.choices import AVERAGES
from asr_parallel.parallel.algorithms.average import AverageOptions
from asr_parallel.parallel.registry import entries, entry
from asr_parallel.parallel.worker_options import WorkerOptions, algorithm_flags, known
from asr_parallel.record.options import build, build_chosen, find, flat, merged, names
from asr_parallel.training.option_groups import (
    COMBINE,
    FINAL_SHARE,
    PSEUDO_WEIGHT,
    DataOptions,
    FinalModelOptions,
    MachineOptions,
    NetworkOptions,
    OptimizationOptions,
    ScheduleOptions,
    SoftLabelOptions,
)
from asr_parallel.training.schedules import Constant, Cyclical, Exponential, Newbob, Schedule

if TYPE_CHECKING:
    from asr_parallel.nnet.spec import NetworkSpec


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training. `training_options` makes them from values by name.

    architecture, algorithm: the options of the chosen architecture and algorithm.
    """

    network: NetworkOptions = field(default_factory=NetworkOptions)
    architecture: Any = field(default_factory=DnnOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    workers: WorkerOptions = field(default_factory=WorkerOptions)
    algorithm: Any = field(default_factory=AverageOptions)
    data: DataOptions = field(default_factory=DataOptions)
    soft_labels: SoftLabelOptions = field(default_factory=SoftLabelOptions)
    final_model: FinalModelOptions = field(default_factory=FinalModelOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)

    def __post_init__(self) -> None:
        """Raise ValueError for options that do not go together."""
        chosen, workers, final = entry(self.workers.algorithm).cls, self.workers, self.final_model
        taken_back = chosen.can_take_back_epochs and not workers.overlap and not workers.ema
        if self.resolved_schedule == "newbob" and not taken_back:
            raise ValueError(
                f"newbob takes epochs back: expected algorithm {_with('can_take_back_epochs')}, no overlap and no ema"
            )
        if self.resolved_schedule == "newbob" and workers.qsr_alpha is not None:
            raise ValueError(
                f"qsr_alpha {workers.qsr_alpha:g}: the rates of newbob are not known before; expected another schedule"
            )
        if self.resolved_schedule == "newbob" and workers.workers_first is not None:
            raise ValueError(
                f"workers_first {workers.workers_first}: the length of newbob is not known before; expected another"
                " schedule"
            )
        if chosen.ensemble and final.combine:
            raise ValueError(f"combine {final.combine}: the workers of an ensemble are never averaged; expected 0")
        if final.combine_epochs is not None and (not self.combined or self.resolved_schedule == "newbob"):
            raise ValueError(
                f"combine_epochs {final.combine_epochs:g}: no models are combined, with newbob or combine 0"
            )
        soft = self.soft_labels
        taught = chosen.ensemble + (soft.teacher is not None)
        if not taught and (soft.temperature, soft.pseudo_weight) != (1, PSEUDO_WEIGHT):
            raise ValueError("pseudo_weight and temperature are of no use without algorithm ensemble or a teacher")
        if taught > 1:
            raise ValueError("algorithm ensemble has its own teacher: expected no other one")
        network = self.network
        if network.start is not None and (network.pretrain != "none" or network.initial != "shared"):
            raise ValueError("start: expected no pretraining and initial shared")
        own_models = chosen.own_initial_models and workers.comm_dtype == "float32" and not workers.overlap
        if network.initial == "own" and (not own_models or network.pretrain != "none"):
            raise ValueError(
                f"initial own: expected algorithm {_with('own_initial_models')}, comm_dtype float32, no overlap and no"
                " pretraining"
            )
        if final.keep_workers and chosen.asynchronous:
            raise ValueError(f"keep_workers: the workers of {workers.algorithm} end apart; expected the center alone")
        if final.keep_workers and chosen.shared_replica:
            raise ValueError(f"keep_workers: the workers of {workers.algorithm} have one model in common")
        if final.keep_workers is False and chosen.ensemble:
            raise ValueError(
                f"keep_workers: the result of algorithm {workers.algorithm} is its workers' models; expected to keep"
                " them"
            )
        if final.ensemble_average != AVERAGES[0] and not chosen.ensemble and not final.keep_workers:
            raise ValueError("ensemble_average is of no use without algorithm ensemble or keep_workers")
        if workers.optimizer_state == "average":
            self._check_moments()

    def _check_moments(self) -> None:
        """Raise ValueError for an optimiser whose state has no mean."""
        from asr_parallel.nnet.optimizer import Optimizer
        from asr_parallel.nnet.optimizers import optimizer_class

        optimizer = self.optimization.optimizer
        if optimizer_class(optimizer).moments is Optimizer.moments:
            raise ValueError(f"optimizer_state average: the state of {optimizer} has no mean; keep or reset it")

    def network_spec(self, frame_dim: int, context: int, num_pdfs: int) -> "NetworkSpec":
        """Return the network that is trained, on frames with context on either side; ValueError for bad sizes."""
        return make_network(self.network.architecture, asdict(self.architecture), frame_dim, context, num_pdfs)

    @property
    def combined(self) -> int:
        """Greatest number of models to combine, also when nothing was asked for."""
        if self.final_model.combine is not None:
            return self.final_model.combine
        return 0 if entry(self.workers.algorithm).cls.ensemble else COMBINE

    @property
    def keeps_workers(self) -> bool:
        """True when workers have own models that are to be kept."""
        wanted = self.final_model.keep_workers
        wanted = entry(self.workers.algorithm).cls.ensemble if wanted is None else wanted
        return wanted and self.workers.workers > 1

    @property
    def resolved_schedule(self) -> str:
        """The schedule, also when none was asked for."""
        return self.schedule.schedule or entry(self.workers.algorithm).cls.default_schedule

    @property
    def resolved_learning_rate(self) -> float:
        """The initial effective learning rate, also when none was asked for."""
        from asr_parallel.nnet.optimizers import optimizer_class

        chosen = optimizer_class(self.optimization.optimizer)
        return self.schedule.learning_rate or chosen.default_rate(self.architecture.nonlinearity)

    def worker_lr_scale(self, workers: int) -> float:
        """Return the learning rate of one of so many workers over the effective one."""
        algorithm = entry(self.workers.algorithm).cls(self.algorithm)
        return self.workers.worker_lr_scale or algorithm.worker_lr_scale(workers)

    def rates(self, workers: int, frames_per_epoch: int) -> Callable[[int], float]:
        """Return the rate of one of so many workers, for a minibatch's mean gradient, after so many frames of all.

        It must be known before training: not with newbob.
        """
        rate, frames = self.make_schedule(frames_per_epoch, self.worker_lr_scale(workers), 0.0), self.rate_frames
        return lambda done: frames * rate.learning_rate(done)

    @property
    def rate_frames(self) -> int:
        """Frames by which a rate becomes that of a minibatch's mean gradient."""
        from asr_parallel.nnet.optimizers import optimizer_class

        how = self.optimization
        return how.minibatch if optimizer_class(how.optimizer).rate_per_frame else 1

    def make_schedule(self, frames_per_epoch: int, num_jobs: float, untrained_loss: float) -> Schedule:
        """Return the schedule of the learning rate.

        Args:
            frames_per_epoch: over all workers.
            num_jobs: factor of the learning rate over the effective one; workers whose parameters are averaged.
            untrained_loss: held-out loss before training.
        """
        first, options = self.resolved_learning_rate, self.schedule
        last = options.final_learning_rate or FINAL_SHARE * first
        total = options.epochs * frames_per_epoch
        if self.resolved_schedule == "exponential":
            return Exponential(
                total_frames=total, num_jobs=num_jobs, initial_effective_rate=first, final_effective_rate=last
            )
        if self.resolved_schedule == "constant":
            return Constant(total_frames=total, rate=num_jobs * first)
        if self.resolved_schedule == "cyclical":
            rounds = entry(self.workers.algorithm).cls.rounds_of_epochs
            cycle = options.cycle_frames or (None if rounds else frames_per_epoch)
            return Cyclical(total_frames=total, top=num_jobs * first, bottom=num_jobs * last, cycle_frames=cycle)
        return Newbob(
            rate=num_jobs * first, best_loss=untrained_loss, max_epochs=options.epochs, halve_from=options.halve_from
        )


def config_identity(options: TrainingOptions) -> dict[str, Any]:
    """Return the options that a network depends on, by name; of files and folders the contents count, not the names."""
    facts = find(options)
    return {name: v for name, v in flat(options).items() if facts[name].affects_result and not facts[name].path}


def path_names() -> list[str]:
    """Return the names of the options that name a file or a folder."""
    return [name for name, facts in find(TrainingOptions()).items() if facts.path]


def _with(trait: str) -> str:
    """Return the names of the algorithms that have a trait, for an error message."""
    *most, last = (one.name for one in entries() if getattr(one.cls, trait))
    return f"{', '.join(most)} or {last}" if most else last


def alternatives() -> dict[str, dict[str, type]]:
    """Return the groups of options of which one is chosen: by kind, and by name."""
    return {"architecture": {name: one.options for name, one in architectures().items()}, "algorithm": known()}


def flag_groups() -> list[type]:
    """Return all groups of options, for a command line."""
    return [TrainingOptions, merged("Options of architectures", alternatives()["architecture"]), algorithm_flags()]


def option_names() -> frozenset[str]:
    """Return the names of all options, those of every architecture and algorithm too."""
    own = [group for groups in alternatives().values() for group in groups.values()]
    return names(TrainingOptions).union(*map(names, own))


def training_options(**given: Any) -> TrainingOptions:
    """Return options from values by name; None stands for a default.

    Raises:
        ValueError: an unknown name, a value out of range, or options that do not go together.
    """
    if unknown := given.keys() - option_names():
        raise ValueError(f"unknown option {min(unknown)}")
    groups = build(TrainingOptions, given)
    values = {one.name: getattr(groups, one.name) for one in fields(TrainingOptions)}
    chosen = {"architecture": groups.network.architecture, "algorithm": groups.workers.algorithm}
    for kind, name in chosen.items():
        values[kind] = build_chosen(kind, name, alternatives()[kind], given)
    return TrainingOptions(**values)


def read_options(given: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of a training among the values of a command line, by name; ValueError as above."""
    known = option_names()
    return training_options(**{name: value for name, value in given.items() if name in known})
