"""The trainings of a comparison: algorithms x numbers of workers x optimisers x seeds, from one YAML file.

    title: averaging on synthetic Switchboard
    workers: [1, 2, 4]
    seeds: [1, 2, 3]                            # default: [1]
    algorithms: [average, gradient]             # or, with options of their own:
    # algorithms: {average: {period: 16}, ensemble: {}}
    optimizers: {ng-sgd: {learning_rate: 0.008}} # or a list; default: [ng-sgd]
    options: {hidden_dim: 256, epochs: 3}       # of train-dnn, for all trainings
    decode: {beam: 10, max_active: 3000}        # of decode, for all trainings
    processes: 1                                # of each training
    rbm: rbm_{seed}                             # folder of the RBMs in the experiment; default: rbm
    cells:                                      # trainings in addition to the product
      - {algorithm: average, workers: [8], label: period 1, options: {period: 1}}
      - {algorithm: average, workers: [8], optimizer: sgd}

A single worker trains alike under every algorithm that adds nothing to it, so every optimiser and seed has one such
training as the baseline of the others. A cell with a label is compared with a single worker of that label if the file
asks for one. A baseline must have the same model and data.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr_parallel.compare.checks import (
    DECODE_FIXED,
    check_alike,
    check_not_fixed,
    check_training,
    check_verb,
    check_words,
)
from asr_parallel.parallel.registry import entries, entry
from asr_parallel.parallel.worker_options import option_names
from asr_parallel.training.train_options import TrainingOptions, training_options
from asr_parallel.training.train_options import option_names as training_option_names

KEYS = {"title", "workers", "seeds", "algorithms", "optimizers", "options", "decode", "processes", "rbm", "cells"}
CELL_KEYS = {"algorithm", "workers", "seeds", "optimizer", "label", "options"}
GRID = ("algorithm", "workers", "optimizer", "seed")  # options that are keys of the file
DEFAULT_OPTIMIZER = "ng-sgd"
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # YAML reads 1e-3 as a string

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """A training. options: further ones of train-dnn, by name with underscores."""

    algorithm: str
    workers: int
    optimizer: str
    seed: int
    label: str
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        parts = [self.algorithm, str(self.workers), self.optimizer, self.label.replace(" ", "-"), f"s{self.seed}"]
        return "_".join(part for part in parts if part)

    @property
    def training_options(self) -> TrainingOptions:
        """The options of train-dnn; ValueError when they contradict each other."""
        own = {name: getattr(self, name) for name in GRID}
        return training_options(**own, **dict(self.options))

    def words(self) -> list[str]:
        """Return the words of train-dnn's command line."""
        return _words([*((name, getattr(self, name)) for name in GRID), *self.options])


@dataclass(frozen=True)
class Matrix:
    """A comparison's file.

    trainings: each once, single workers first.
    decode: words of decode's command line.
    rbm: folder of the RBMs in the experiment; {seed} stands for the training's seed.
    """

    title: str
    trainings: list[Training]
    processes: int
    decode: tuple[str, ...] = ()
    rbm: str = "rbm"

    @classmethod
    def read(cls, path: Path) -> "Matrix":
        """Read a file and check all of it before anything is run.

        Raises:
            ValueError: the file cannot be read, a key or option is unknown or missing, options contradict each other,
                workers do not divide into the processes, two trainings have one name, or a training and its single
                worker differ in model or data.
        """
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not YAML: {error}") from error
        try:
            return cls._of(given)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _of(cls, given: Any) -> "Matrix":
        given = _mapping("the file", given, KEYS)
        common = _options(given.get("options"))
        seeds = _numbers("seeds", given.get("seeds", [1]), 0)
        optimizers = _named("optimizers", given.get("optimizers", [DEFAULT_OPTIMIZER]))
        algorithms = _named("algorithms", given.get("algorithms", []))
        workers = _numbers("workers", given.get("workers", [1]), 1)
        processes = _numbers("processes", [given.get("processes", 1)], 1)[0]
        wanted: list[tuple[str, int, str, list[int], str, dict]] = []
        for algorithm, own in algorithms.items():
            for optimizer, of_optimizer in optimizers.items():
                wanted += [(algorithm, k, optimizer, seeds, "", common | of_optimizer | own) for k in workers]
        for cell in _list("cells", given.get("cells", [])):
            cell = _mapping("a cell", cell, CELL_KEYS)
            for name in ("algorithm", "workers"):
                if name not in cell:
                    raise ValueError(f"a cell without {name}: {cell}")
            algorithm, optimizer = str(cell["algorithm"]), str(cell.get("optimizer", DEFAULT_OPTIMIZER))
            own = common | optimizers.get(optimizer, {}) | algorithms.get(algorithm, {}) | _options(cell.get("options"))
            of_cell = _numbers("seeds", cell.get("seeds", seeds), 0)
            label = str(cell.get("label", ""))
            if "/" in label:
                raise ValueError(f"label {label!r}: expected no slash, it is part of a folder's name")
            of_workers = _numbers("workers", cell["workers"], 1)
            if 1 in of_workers and not label and _for_one(own) != _for_one(common | optimizers.get(optimizer, {})):
                raise ValueError(f"a single worker with options of its own: {cell}; expected a label")
            wanted += [(algorithm, k, optimizer, of_cell, label, own) for k in of_workers]
        if not wanted:
            raise ValueError("neither algorithms nor cells: nothing to compare")
        with_one = {(optimizer, label) for _, k, optimizer, _, label, _ in wanted if k == 1 and label}
        found: dict[str, Training] = {}
        for algorithm, k, optimizer, of_seeds, label, own in wanted:
            entry(algorithm)
            if k > 1 and k % processes:
                raise ValueError(f"{k} workers do not divide into {processes} processes")
            for seed in of_seeds:
                _add(found, _alone(optimizer, seed, "", common | optimizers.get(optimizer, {})))
                if k > 1:
                    _add(found, Training(algorithm, k, optimizer, seed, label, tuple(own.items())))
                if (optimizer, label) in with_one:
                    _add(found, _alone(optimizer, seed, label, own))
        for training in found.values():
            try:
                _check(training)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{training.name}: {error}") from error
        in_order = sorted(found.values(), key=lambda one: one.workers > 1)
        _check_alike(in_order)
        decode = tuple(_words(_options(given.get("decode")).items()))
        try:
            check_not_fixed(decode, DECODE_FIXED)
            check_verb("decode", "--graph", "", "--model", "", "--feats", "", "--out", "", *decode)
        except ValueError as error:
            raise ValueError(f"decode: {error}") from error
        return cls(str(given.get("title", "")), in_order, processes, decode, str(given.get("rbm", "rbm")))


def _alone(optimizer: str, seed: int, label: str, options: dict[str, Any]) -> Training:
    algorithm = next(one.name for one in entries() if not one.communicates)
    return Training(algorithm, 1, optimizer, seed, label, tuple(_for_one(options).items()))


def _for_one(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that matter to a single worker."""
    return {name: value for name, value in options.items() if name not in option_names()}


def _add(found: dict[str, Training], training: Training) -> None:
    before = found.setdefault(training.name, training)
    if before != training:
        raise ValueError(f"two different trainings are called {training.name}; expected labels that differ")


def _words(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the words of a command line."""
    words: list[str] = []
    for name, value in options:
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def _check(training: Training) -> None:
    """Raise ValueError for what train-dnn refuses on its command line or when it starts."""
    known = training_option_names() - set(GRID)
    for name, _ in training.options:
        if name not in known:
            raise ValueError(f"unknown option {name!r}; expected one of train-dnn's: {', '.join(sorted(known))}")
    check_words("train-dnn", "--frames", "", "--out", "", *training.words())
    check_training(training.training_options)


def single_worker_of(training: Training, trainings: Iterable[Training]) -> Training:
    """Return the single worker that a training is compared with: with the same label, else without label."""
    like = (training.optimizer, training.seed)
    alone = {one.label: one for one in trainings if one.workers == 1 and (one.optimizer, one.seed) == like}
    return alone.get(training.label) or alone[""]


def _check_alike(trainings: Iterable[Training]) -> None:
    """Raise ValueError for a training whose single worker has another model or other data."""
    for training in trainings:
        base = single_worker_of(training, trainings)
        try:
            check_alike(training.training_options, base.training_options)
        except ValueError as error:
            raise ValueError(f"{training.name}: {error}") from error


def _mapping(what: str, given: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{what}: expected a mapping of {', '.join(sorted(known))}, found {given!r}")
    unknown = sorted(set(map(str, given)) - known)
    if unknown:
        raise ValueError(f"{what}: unknown key {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    return given


def _list(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{name}: expected a list, found {given!r}")
    return given


def _numbers(name: str, given: Any, least: int) -> list[int]:
    numbers = _list(name, given)
    if not numbers or any(type(number) is not int or number < least for number in numbers):
        raise ValueError(f"{name} {given!r}: expected whole numbers of at least {least}")
    return numbers


def _options(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or any(not isinstance(v, (str, int, float, bool)) for v in given.values()):
        raise ValueError(f"options {given!r}: expected a mapping of names to numbers, words, true or false")
    return {
        str(name).replace("-", "_"): float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value
        for name, value in given.items()
    }


def _named(name: str, given: Any) -> dict[str, dict[str, Any]]:
    """Read a list of names, or a mapping of them to options."""
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        given = dict.fromkeys(given)
    if not isinstance(given, dict):
        raise ValueError(f"{name} {given!r}: expected a list of names, or a mapping of them to options")
    return {str(one): _options(options) for one, options in given.items()}
