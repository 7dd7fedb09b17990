"""A training of a comparison: its name, its options, the words of its command line."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from asr_parallel.compare.checks import check_alike, check_training, check_words
from asr_parallel.parallel.registry import entry
from asr_parallel.training.train_options import TrainingOptions, option_names, training_options

GRID = ("algorithm", "workers", "optimizer", "seed")  # options that are keys of the file


@dataclass(frozen=True)
class Training:
    """A training.

    options: further ones of train-dnn, by name with underscores.
    fixed: names of those that its cell or algorithm gives itself, which are not tuned.
    tuned_as: label of the cell whose tuned values it takes; "": its own.
    budget: its epochs over those of the file, which its options have already been multiplied by.
    trial: its number, if it is one of the trials of tuning.
    """

    algorithm: str
    workers: int
    optimizer: str
    seed: int
    label: str
    options: tuple[tuple[str, Any], ...]
    fixed: frozenset[str] = field(default=frozenset(), compare=False)
    tuned_as: str = ""
    budget: float = 1.0
    trial: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        budget = "" if self.budget == 1 else f"_x{self.budget:g}"
        trial = "" if self.trial is None else f"_t{self.trial}"
        return f"{_contestant(self, self.label)}{budget}_s{self.seed}{trial}"

    @property
    def contestant(self) -> str:
        """The name of what is tuned: the same for all seeds and budgets."""
        return _contestant(self, self.tuned_as or self.label)

    @property
    def is_plain(self) -> bool:
        """True for a single worker that no algorithm moves: what others are compared with."""
        return self.workers == 1 and not entry(self.algorithm).communicates

    @property
    def training_options(self) -> TrainingOptions:
        """The options of train-dnn; ValueError when they contradict each other."""
        own = {name: getattr(self, name) for name in GRID}
        return training_options(**own, **dict(self.options))

    def with_epochs(self, factor: float) -> "Training":
        """Return the training for a multiple of its epochs; ValueError for none that is whole.

        An option for the number of epochs is added where there was none.
        """
        epochs = self.training_options.schedule.epochs * factor
        if epochs < 1 or not math.isclose(epochs, round(epochs)):
            raise ValueError(f"{factor:g} times the epochs of {self.name}: {epochs:g}; expected whole ones")
        options = dict(self.options) | {"epochs": round(epochs)}
        return replace(self, options=tuple(options.items()))

    def words(self) -> list[str]:
        """Return the words of train-dnn's command line."""
        return words_of([*((name, getattr(self, name)) for name in GRID), *self.options])


def _contestant(training: Training, label: str) -> str:
    parts = [training.algorithm, str(training.workers), training.optimizer, label.replace(" ", "-")]
    return "_".join(part for part in parts if part)


def words_of(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the words of a command line."""
    words: list[str] = []
    for name, value in options:
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def check(training: Training) -> None:
    """Raise ValueError for a training that train-dnn refuses."""
    try:
        _check(training)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{training.name}: {error}") from error


def _check(training: Training) -> None:
    """Raise ValueError for what train-dnn refuses on its command line or when it starts."""
    known = option_names() - set(GRID)
    for name, _ in training.options:
        if name not in known:
            raise ValueError(f"unknown option {name!r}; expected one of train-dnn's: {', '.join(sorted(known))}")
    check_words("train-dnn", "--frames", "", "--out", "", *training.words())
    check_training(training.training_options)


def single_worker_of(training: Training, trainings: Iterable[Training]) -> Training:
    """Return the single worker that a training is compared with: with the same label, else without label."""
    like = (training.optimizer, training.seed, training.budget)
    alone = {one.label: one for one in trainings if one.is_plain and (one.optimizer, one.seed, one.budget) == like}
    return alone.get(training.label) or alone[""]


def check_all_alike(trainings: Iterable[Training]) -> None:
    """Raise ValueError for a training whose single worker has another model or other data."""
    for training in trainings:
        base = single_worker_of(training, trainings)
        try:
            check_alike(training.training_options, base.training_options)
        except ValueError as error:
            raise ValueError(f"{training.name}: {error}") from error
