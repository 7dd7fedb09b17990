"""The search space of a comparison's tuning, and quasi-random points in it.

    tune:
      trials: 8                                    # of every algorithm, optimizer and number of workers
      budget: 0.5                                  # of a trial, in epochs of the training; default: 1
      seed: 0                                      # of the points and of the trials; default: 0
      space:
        learning_rate: {log: [0.0005, 0.032]}      # from 0.0005 to 0.032, uniform in the logarithm
        final_learning_rate: {ratio: [0.01, 1]}    # of the learning rate, likewise
        momentum: {linear: [0.5, 0.99]}
        period: {choices: [4, 16, 64]}
      optimizers:                                  # ranges in place of those above
        sgd: {learning_rate: {log: [0.0001, 0.0064]}}

All contestants get the same points, each in those options that it has. That is the rule of AlgoPerf: one published
space, and as many quasi-random trials for everyone.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr_parallel.compare.yaml_values import mapping, number, whole_numbers
from asr_parallel.nnet.optimizers import optimizer_class
from asr_parallel.parallel.worker_options import known
from asr_parallel.parallel.worker_options import option_names as worker_option_names
from asr_parallel.record.options import about, names, value_kind, walk
from asr_parallel.training.train_options import TrainingOptions, alternatives

KEYS = {"trials", "budget", "seed", "space", "optimizers"}
KINDS = ("log", "linear", "choices", "ratio")
RATIO = " ratio"  # after the name of an option, in values
RATIO_OF = {"final_learning_rate": "learning_rate"}
FIXED = {"workers", "algorithm", "optimizer", "seed", "epochs"}  # what the comparison itself varies

Value = int | float | str
Values = dict[str, Value]  # by option
Space = Mapping[str, "Range"]


@dataclass(frozen=True)
class Range:
    """The values that an option may take.

    kind: log: between two numbers, uniform in their logarithm. linear: uniform. choices: each as likely.
        ratio: as log, times the option that RATIO_OF names.
    whole: whether the option is a whole number, to which values are rounded.
    """

    kind: str
    values: tuple[Value, ...]
    whole: bool = False

    def at(self, share: float) -> Value:
        """Return the value at a share of the range, from 0 to below 1; of a ratio, the ratio."""
        if self.kind == "choices":
            return self.values[int(share * len(self.values))]
        low, high = (float(value) for value in self.values)
        if self.kind == "linear":
            value = low + share * (high - low)
        else:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return round(value) if self.whole else float(f"{value:.4g}")  # nothing more is of use, and names stay short

    def __str__(self) -> str:
        values = ", ".join(f"{value:g}" if isinstance(value, float) else f"{value}" for value in self.values)
        return f"{self.kind} {values}"


@dataclass(frozen=True)
class SearchSpace:
    """The options that are tuned, their ranges, and the number of trials: see the head of this file."""

    trials: int
    space: Space
    optimizers: Mapping[str, Space] = field(default_factory=dict)
    budget: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, given: Any) -> "SearchSpace":
        """Return the space that a comparison's file describes.

        Raises:
            ValueError: a key or an option is unknown, or of the comparison itself; the space is empty, a range is
                reversed, or there are no more trials than options, so that they cannot be told apart.
        """
        given = mapping("tune", given, KEYS)
        space = _space("tune: space", given.get("space", {}))
        of_optimizers = mapping("tune: optimizers", given.get("optimizers", {}), _choices("optimizer"))
        optimizers = {name: _space(f"tune: {name}", ranges) for name, ranges in of_optimizers.items()}
        most = max(len(space | own) for own in (optimizers or {"": {}}).values())
        if not most:
            raise ValueError("tune: an empty space; expected options and their ranges")
        trials = whole_numbers("tune: trials", [given.get("trials", 0)], 1)[0]
        if trials <= most:
            raise ValueError(f"tune: {trials} trials for {most} options; expected at least {most + 1}")
        budget = given.get("budget", 1.0)
        if not isinstance(budget, int | float) or not 0 < budget < math.inf:
            raise ValueError(f"tune: budget {budget!r}: expected a number above 0")
        seed = whole_numbers("tune: seed", [given.get("seed", 0)], 0)[0]
        return cls(trials, space, optimizers, float(budget), seed)

    def ranges(self, algorithm: str, optimizer: str, plain: bool, fixed: frozenset[str] = frozenset()) -> Space:
        """Return the ranges of the options that a contestant has.

        Args:
            plain: whether it is a single worker that no algorithm moves.
            fixed: options that it keeps as they are.
        """
        own = worker_option_names() if plain else worker_option_names() - names(known()[algorithm])
        common = frozenset[str]() if plain else _common_worker_options()
        without = frozenset() if optimizer_class(optimizer).takes_momentum else frozenset({"momentum"})
        return {
            name: values
            for name, values in {**self.space, **self.optimizers.get(optimizer, {})}.items()
            if name not in fixed | without and (name not in own or name in common)
        }

    def points(self, ranges: Space, options: Mapping[str, Any]) -> list[Values]:
        """Return the trials' values by option, without repetitions; `resolved` makes options of them.

        A ratio has the option's name and RATIO, so that it stays one beside another learning rate.

        Args:
            ranges: of the contestant's options.
            options: its others, of which one may be what a ratio is of.

        Raises:
            ValueError: a ratio of an option that has no value.
        """
        for name, of in ranges.items():
            if of.kind == "ratio" and RATIO_OF[name] not in ranges.keys() | options.keys():
                raise ValueError(f"tune: {name} is a ratio of {RATIO_OF[name]}, which has no value; expected one")
        all_names = sorted(set(self.space).union(*self.optimizers.values()))
        found: list[Values] = []
        for shares in _sobol(len(all_names), self.trials, self.seed):
            point = {
                name + RATIO * (ranges[name].kind == "ratio"): ranges[name].at(share)
                for name, share in zip(all_names, shares, strict=True)
                if name in ranges
            }
            if point and point not in found:
                found.append(point)
        return found


def resolved(values: Mapping[str, Any], options: Mapping[str, Any], fixed: Set[str] = frozenset()) -> dict[str, Any]:
    """Return options with tuned values in place of their own, but for `fixed` ones; ratios become numbers."""
    found = dict(options) | {name: value for name, value in values.items() if name not in fixed}
    for name in [name for name in found if name.endswith(RATIO)]:
        option, ratio = name.removesuffix(RATIO), found.pop(name)
        if option not in fixed:
            found[option] = float(f"{ratio * float(found[RATIO_OF[option]]):.4g}")
    return found


def _sobol(dimensions: int, trials: int, seed: int) -> np.ndarray:
    """Return scrambled Sobol' points, (trials, dimensions) between 0 and 1."""
    from scipy.stats import qmc

    drawn = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    return drawn.random_base2(max(0, math.ceil(math.log2(trials))))[:trials]  # balanced in powers of 2


def _common_worker_options() -> frozenset[str]:
    return worker_option_names() - frozenset[str]().union(*map(names, known().values()))


def _choices(name: str) -> set[str]:
    """Return the words that an option of train-dnn may be."""
    return {str(word) for _, one, _ in walk(TrainingOptions) if one.name == name for word in about(one).choices}


def _option_kinds() -> dict[str, tuple[type, bool]]:
    """Return type, and whether trainings must agree in it to be compared, of every option of train-dnn."""
    groups = [TrainingOptions, *(group for kinds in alternatives().values() for group in kinds.values())]
    return {one.name: (value_kind(hint), about(one).task) for group in groups for _, one, hint in walk(group)}


def _space(what: str, given: Any) -> dict[str, Range]:
    kinds = _option_kinds()
    tunable = {name for name, (kind, task) in kinds.items() if not task and name not in FIXED and kind is not bool}
    found: dict[str, Range] = {}
    for name, of in mapping(what, given, tunable | {name.replace("_", "-") for name in tunable}).items():
        name = str(name).replace("-", "_")
        found[name] = _range(f"{what}: {name}", name, of, kinds[name][0])
    return found


def _range(what: str, name: str, given: Any, kind: type) -> Range:
    if not isinstance(given, dict) or len(given) != 1 or not set(given) <= set(KINDS):
        raise ValueError(f"{what}: expected one of {', '.join(KINDS)} with its values, found {given!r}")
    ((how, values),) = given.items()
    values = [number(value) for value in values] if isinstance(values, list) else values
    if how == "ratio" and name not in RATIO_OF:
        raise ValueError(f"{what}: ratio: expected of {', '.join(RATIO_OF)} alone")
    if how == "choices":
        if not isinstance(values, list) or len(values) < 2 or len(set(map(str, values))) < len(values):
            raise ValueError(f"{what}: choices {values!r}: expected at least two values that differ")
        return Range(how, tuple(values), kind is int)
    plain = isinstance(values, list) and len(values) == 2 and all(type(value) in (int, float) for value in values)
    if not plain or kind not in (int, float):
        raise ValueError(f"{what}: {how} {values!r}: expected a lower and an upper number")
    if not values[0] < values[1] or (how != "linear" and values[0] <= 0):
        positive = "" if how == "linear" else ", both above 0"
        raise ValueError(f"{what}: {how} {values}: expected a lower and then an upper number{positive}")
    return Range(how, tuple(values), kind is int)


def at_edge(tried: Sequence[Values], best: Values) -> tuple[str, ...]:
    """Return the options whose best value is the smallest or the largest of at least three that were tried."""
    found = []
    for name, value in best.items():
        values = sorted({point[name] for point in tried if isinstance(point[name], int | float)})
        if len(values) > 2 and value in (values[0], values[-1]):
            found.append(name)
    return tuple(found)
