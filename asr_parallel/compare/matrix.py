"""The trainings of a comparison: algorithms x numbers of workers x optimisers x seeds, from one YAML file.

    title: averaging on synthetic Switchboard
    workers: [1, 2, 4]
    seeds: [1, 2, 3]                            # default: [1]
    algorithms: [average, gradient]             # or, with options of their own:
    # algorithms: {average: {period: 16}, ensemble: {}}
    optimizers: {ng-sgd: {learning_rate: 0.008}} # or a list; default: [ng-sgd]
    options: {hidden_dim: 256, epochs: 3}       # of train-dnn, for all trainings
    tune: {trials: 8, space: {learning_rate: {log: [0.0005, 0.032]}}}   # search_space.py
    budgets: [0.5, 1, 2, 4]                     # each training once for so many times its epochs; default: [1]
    target: {seeds: 5}                          # speedups to what the single worker comes to; report/target.py
    decode: {beam: 10, max_active: 3000}        # of decode, for all trainings
    processes: 1                                # of each training
    rbm: rbm_{seed}                             # folder of the RBMs in the experiment; default: rbm
    cells:                                      # trainings in addition to the product
      - {algorithm: average, workers: [8], label: period 1, options: {period: 1}}
      - {algorithm: average, workers: [8], optimizer: sgd}
      - {algorithm: block-momentum, workers: [1], label: DiLoCo, baseline: false, options: {outer: diloco}}

A single worker trains alike under every algorithm that adds nothing to it, so every optimiser and seed has one such
training as the baseline of the others. A cell with a label is compared with a single worker of that label if the file
asks for one. A baseline must have the same model and data. With `baseline: false` the single worker of a cell is no
baseline but a contestant, which its algorithm moves as it moves the mean of several.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from asr_parallel.compare.checks import (
    DECODE_FIXED,
    check_not_fixed,
    check_verb,
)
from asr_parallel.compare.lone_worker import check_lone, check_moved
from asr_parallel.compare.matrix_training import Training, check, check_all_alike, words_of
from asr_parallel.compare.search_space import SearchSpace, Values, resolved
from asr_parallel.compare.yaml_values import listing, mapping, named, option_values, whole_numbers
from asr_parallel.parallel.registry import entries, entry
from asr_parallel.parallel.worker_options import option_names
from asr_parallel.report.comparison import LEAST_SEEDS, Target

KEYS = {
    "title", "workers", "seeds", "algorithms", "optimizers", "options", "tune", "budgets", "target", "decode",
    "processes", "rbm", "cells",
}  # fmt: skip
TARGET_KEYS = {"seeds"}
CELL_KEYS = {"algorithm", "workers", "seeds", "optimizer", "label", "options", "tuned_as", "baseline"}
DEFAULT_OPTIMIZER = "ng-sgd"

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """A comparison's file.

    trainings: each once, single workers first.
    search_space: of what is tuned before they are trained.
    target: to which speedups are reported.
    decode: words of decode's command line.
    rbm: folder of the RBMs in the experiment; {seed} stands for the training's seed.
    """

    title: str
    trainings: list[Training]
    processes: int
    decode: tuple[str, ...] = ()
    rbm: str = "rbm"
    search_space: SearchSpace | None = None
    target: Target | None = None

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
        given = mapping("the file", given, KEYS)
        common = option_values(given.get("options"))
        seeds = whole_numbers("seeds", given.get("seeds", [1]), 0)
        optimizers = named("optimizers", given.get("optimizers", [DEFAULT_OPTIMIZER]))
        algorithms = named("algorithms", given.get("algorithms", []))
        workers = whole_numbers("workers", given.get("workers", [1]), 1)
        processes = whole_numbers("processes", [given.get("processes", 1)], 1)[0]
        search_space = SearchSpace.of(given["tune"]) if "tune" in given else None
        wanted: list[_Wanted] = []
        for algorithm, own in algorithms.items():
            for optimizer, of_optimizer in optimizers.items():
                options = common | of_optimizer | own
                wanted += [
                    _Wanted(algorithm, k, optimizer, seeds, "", options, frozenset(own), moved=k > 1) for k in workers
                ]
        for cell in listing("cells", given.get("cells", [])):
            cell = mapping("a cell", cell, CELL_KEYS)
            for name in ("algorithm", "workers"):
                if name not in cell:
                    raise ValueError(f"a cell without {name}: {cell}")
            algorithm, optimizer = str(cell["algorithm"]), str(cell.get("optimizer", DEFAULT_OPTIMIZER))
            fixed = algorithms.get(algorithm, {}) | option_values(cell.get("options"))
            own = common | optimizers.get(optimizer, {}) | fixed
            of_cell = whole_numbers("seeds", cell.get("seeds", seeds), 0)
            label = str(cell.get("label", ""))
            if "/" in label:
                raise ValueError(f"label {label!r}: expected no slash, it is part of a folder's name")
            of_workers = whole_numbers("workers", cell["workers"], 1)
            is_baseline = cell.get("baseline", True)
            if type(is_baseline) is not bool:
                raise ValueError(f"baseline {is_baseline!r}: expected true or false")
            if (
                is_baseline
                and 1 in of_workers
                and not label
                and _for_one(own) != _for_one(common | optimizers.get(optimizer, {}))
            ):
                raise ValueError(f"a single worker with options of its own: {cell}; expected a label")
            if not is_baseline:
                check_lone(algorithm, of_workers, own)
            as_another = str(cell.get("tuned_as", ""))
            if as_another and search_space is None:
                raise ValueError(f"tuned_as {as_another!r}: nothing is tuned; expected a key tune")
            wanted += [
                _Wanted(
                    algorithm, k, optimizer, of_cell, label, own, frozenset(fixed), as_another, k > 1 or not is_baseline
                )
                for k in of_workers
            ]
        if not wanted:
            raise ValueError("neither algorithms nor cells: nothing to compare")
        with_one = {(one.optimizer, one.label) for one in wanted if one.label and not one.moved}
        found: dict[str, Training] = {}
        for one in wanted:
            entry(one.algorithm)
            if one.workers > 1 and one.workers % processes:
                raise ValueError(f"{one.workers} workers do not divide into {processes} processes")
            for seed in one.seeds:
                if (one.optimizer, one.label) in with_one:
                    _add(found, replace(one.training(seed), **_single_worker(one.options)))
                else:
                    _add(found, _alone(one.optimizer, seed, "", common | optimizers.get(one.optimizer, {})))
                if one.moved:
                    _add(found, one.training(seed))
        for training in found.values():
            check(training)
            check_moved(training, search_space)
        budgets = _budgets(given.get("budgets", [1]))
        all_budgets = [
            replace(one.with_epochs(b), budget=b) if b != 1 else one for b in budgets for one in found.values()
        ]
        in_order = sorted(all_budgets, key=lambda one: not one.is_plain)
        target = _target(given["target"], budgets, in_order) if "target" in given else None
        check_all_alike(in_order)
        decode = tuple(words_of(option_values(given.get("decode")).items()))
        try:
            check_not_fixed(decode, DECODE_FIXED)
            check_verb("decode", "--graph", "", "--model", "", "--feats", "", "--out", "", *decode)
        except ValueError as error:
            raise ValueError(f"decode: {error}") from error
        matrix = cls(
            str(given.get("title", "")), in_order, processes, decode, str(given.get("rbm", "rbm")), search_space, target
        )
        for trials in matrix.trials().values():
            for _, trial in trials:
                check(trial)
        return matrix

    def trials(self) -> dict[str, list[tuple[Values, Training]]]:
        """Return the trials of every contestant that has something to tune, by its name: tuned values and training."""
        space, found = self.search_space, dict[str, list[tuple[Values, Training]]]()
        if space is None:
            return found
        tuned = {one.contestant: one for one in reversed(self.trainings) if not one.tuned_as}
        for training in self.trainings:
            if training.contestant not in tuned:
                raise ValueError(f"{training.name}: tuned_as {training.tuned_as!r}: expected the label of another cell")
        for name, one in reversed(tuned.items()):
            of_trial = replace(one, seed=space.seed, budget=1.0).with_epochs(space.budget / one.budget)
            ranges = space.ranges(one.algorithm, one.optimizer, one.is_plain, one.fixed)
            points = space.points(ranges, dict(one.options)) if ranges else []
            for n, point in enumerate(points):
                values = tuple(resolved(point, dict(of_trial.options)).items())
                found.setdefault(name, []).append((point, replace(of_trial, options=values, trial=n)))
        return found

    def tuned(self, chosen: Mapping[str, Options]) -> "Matrix":
        """Return the matrix with the options that were chosen for contestants, by name."""
        trainings = []
        for one in self.trainings:
            values = resolved(chosen.get(one.contestant, {}), dict(one.options), one.fixed)
            trainings.append(replace(one, options=tuple(values.items())))
            check(trainings[-1])
        return replace(self, trainings=trainings)


@dataclass(frozen=True)
class _Wanted:
    """Trainings that a file asks for, alike but for their seeds.

    moved: whether their algorithm moves them; else they are plain single workers, the baseline of others.
    """

    algorithm: str
    workers: int
    optimizer: str
    seeds: list[int]
    label: str
    options: dict[str, Any]
    fixed: frozenset[str]
    tuned_as: str = ""
    moved: bool = True

    def training(self, seed: int) -> Training:
        return Training(
            self.algorithm, self.workers, self.optimizer, seed, self.label, tuple(self.options.items()), self.fixed,
            self.tuned_as,
        )  # fmt: skip


def _budgets(given: Any) -> list[float]:
    budgets = listing("budgets", given)
    if not budgets or any(type(one) not in (int, float) or not 0 < one < math.inf for one in budgets):
        raise ValueError(f"budgets {budgets}: expected numbers above 0, each a multiple of the epochs")
    if len(set(budgets)) < len(budgets):
        raise ValueError(f"budgets {budgets}: expected each once")
    return sorted(map(float, budgets))


def _target(given: Any, budgets: Sequence[float], trainings: Iterable[Training]) -> Target:
    """Return the target of a file; ValueError where seeds or budgets do not suffice for it."""
    given = mapping("target", given or {}, TARGET_KEYS)
    seeds = whole_numbers("target: seeds", [given.get("seeds", LEAST_SEEDS)], 2)[0]
    if 1 not in budgets:
        raise ValueError(f"target: budgets {budgets}: expected 1 among them, where the single worker sets the target")
    counts: dict[str, set[int]] = {}
    for one in trainings:
        counts.setdefault(one.name.rpartition("_s")[0], set()).add(one.seed)
    for name, found in counts.items():
        if len(found) < seeds:
            raise ValueError(f"target: {len(found)} seeds of {name}; expected at least {seeds}")
    return Target(seeds)


def _alone(optimizer: str, seed: int, label: str, options: dict[str, Any]) -> Training:
    return Training(optimizer=optimizer, seed=seed, label=label, **_single_worker(options))


def _single_worker(options: dict[str, Any]) -> dict[str, Any]:
    """Return algorithm, workers and options of a single worker."""
    algorithm = next(one.name for one in entries() if not one.communicates)
    return {"algorithm": algorithm, "workers": 1, "options": tuple(_for_one(options).items())}


def _for_one(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that matter to a single worker."""
    return {name: value for name, value in options.items() if name not in option_names()}


def _add(found: dict[str, Training], training: Training) -> None:
    before = found.setdefault(training.name, training)
    if before != training:
        raise ValueError(f"two different trainings are called {training.name}; expected labels that differ")
