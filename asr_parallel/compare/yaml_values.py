"""Values of a YAML file, checked: mappings, lists, whole numbers, options of a verb."""

import re
from collections.abc import Set
from typing import Any

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # YAML reads 1e-3 as a string


def mapping(what: str, given: Any, known: Set[str]) -> dict[str, Any]:
    """Return a mapping of known keys; ValueError for anything else. what: its name, for the message."""
    if not isinstance(given, dict):
        raise ValueError(f"{what}: expected a mapping of {', '.join(sorted(known))}, found {given!r}")
    unknown = sorted(set(map(str, given)) - known)
    if unknown:
        raise ValueError(f"{what}: unknown key {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    return given


def listing(name: str, given: Any) -> list[Any]:
    """Return a list; ValueError for anything else."""
    if not isinstance(given, list):
        raise ValueError(f"{name}: expected a list, found {given!r}")
    return given


def whole_numbers(name: str, given: Any, least: int) -> list[int]:
    """Return a list of at least one whole number, none below `least`; ValueError for anything else."""
    numbers = listing(name, given)
    if not numbers or any(type(number) is not int or number < least for number in numbers):
        raise ValueError(f"{name} {given!r}: expected whole numbers of at least {least}")
    return numbers


def option_values(given: Any) -> dict[str, Any]:
    """Return options by name with underscores; ValueError for anything but plain values. None: no options."""
    if given is None:
        return {}
    if not isinstance(given, dict) or any(not isinstance(v, (str, int, float, bool)) for v in given.values()):
        raise ValueError(f"options {given!r}: expected a mapping of names to numbers, words, true or false")
    return {str(name).replace("-", "_"): number(value) for name, value in given.items()}


def number(given: Any) -> Any:
    """Return a float for a string like 1e-3, which YAML does not take for a number, and anything else as it is."""
    return float(given) if isinstance(given, str) and SCIENTIFIC.fullmatch(given) else given


def named(name: str, given: Any) -> dict[str, dict[str, Any]]:
    """Return options by name of a list of names, or of a mapping of them to options."""
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        given = dict.fromkeys(given)
    if not isinstance(given, dict):
        raise ValueError(f"{name} {given!r}: expected a list of names, or a mapping of them to options")
    return {str(one): option_values(options) for one, options in given.items()}
