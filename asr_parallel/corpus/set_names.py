"""The names of the sets that an experiment decodes, and which of them chooses the scoring weights of which."""

import re
from collections.abc import Mapping

DEV_EVAL = "dev eval"  # the sets of an experiment that names none
TRAINING_SET = "train"  # its name in the recipes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse_sets(text: str) -> dict[str, str]:
    """Return set -> the set that chooses its weights, in the order of the text: "SET SET:TUNING_SET ...".

    A set without a tuning set is scored with the weights of the first one, unless it is itself the tuning set of
    another: then it chooses its own.

    Raises:
        ValueError: no set, a bad name, a set named twice, or a tuning set that is not one.
    """
    words = [word.partition(":") for word in text.split()]
    named = [name for name, _, _ in words]
    tuning = {of for _, colon, of in words if colon}
    if not named:
        raise ValueError("--sets: expected the name of at least one set, such as 'dev eval'")
    for name in named:
        if not NAME.fullmatch(name) or name == TRAINING_SET:
            raise ValueError(f"--sets '{text}': set {name!r}: expected letters, digits, '_', '.' and '-', not 'train'")
        if named.count(name) > 1:
            raise ValueError(f"--sets '{text}': set {name!r}: named twice")
    sets = {name: of if colon else name if name in tuning else named[0] for name, colon, of in words}
    for name, of in sets.items():
        if sets.get(of) != of:
            problem = "is not among the sets" if of not in sets else f"gets its own weights from {sets[of]!r}"
            raise ValueError(f"--sets '{text}': {name}:{of}: the tuning set {of!r} {problem}")
    return sets


def evaluation_sets(sets: Mapping[str, str]) -> dict[str, list[str]]:
    """Return tuning set -> the other sets that are scored with its weights, both in the order of `sets`."""
    return {name: [n for n, of in sets.items() if of == name != n] for name, of in sets.items() if of == name}


def report_order(sets: Mapping[str, str]) -> list[str]:
    """Return the sets as a report has them: those that chose no weights first, whose error rates are fair."""
    return sorted(sets, key=lambda name: sets[name] == name)
