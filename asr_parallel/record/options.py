"""Options as dataclass fields: said once, read from a command line or a file, checked, shown by --help.

    @dataclass(frozen=True)
    class ElasticOptions:
        elastic_beta: float = option(0.9, "alpha times K", above=0, source="Zhang et al., section 5")

A field's name is its flag (--elastic-beta) and its key in a YAML file. A group of options may hold other groups; names
are unique over all of them, so that files and records stay flat.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")
KIND_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    unset: str = "",
    source: str = "",
    metavar: str | None = None,
) -> Any:
    """Return a dataclass field for an option.

    Args:
        default: of its type; None where the value follows from something else.
        help: a phrase for --help.
        choices: allowed words.
        least, above, most, below: limits of a number, the first and third inclusive.
        unset: for --help, what holds when the default is None.
        source: where the default is from: a paper, or a file of Kaldi's.
    """
    limits = {"least": least, "above": above, "most": most, "below": below}
    about = {"help": help, "choices": choices, "unset": unset, "source": source, "metavar": metavar, **limits}
    return field(default=default, metadata=about)


def walk(cls: type) -> Iterator[tuple[type, Field[Any], Any]]:
    """Yield (group, field, type) of every option of a group and of the groups in it."""
    hints = get_type_hints(cls)
    for one in fields(cls):
        if is_dataclass(hints[one.name]):
            yield from walk(hints[one.name])
        elif "help" in one.metadata:
            yield cls, one, hints[one.name]


def check(options: Any) -> None:
    """Raise ValueError, with the option, its value and what was expected, when one of a group's own is out of range."""
    for one in fields(options):
        if "help" not in one.metadata or (value := getattr(options, one.name)) is None:
            continue
        about = one.metadata
        if about["choices"] and value not in about["choices"]:
            raise ValueError(f"unknown {one.name} {value!r}; expected one of {', '.join(about['choices'])}")
        if isinstance(value, bool | str):
            continue
        low, high = max(about["least"], about["above"]), min(about["most"], about["below"])
        inside = about["least"] <= value <= about["most"] and about["above"] < value < about["below"]
        if not inside or (isinstance(value, float) and not math.isfinite(value)):
            wanted = []
            if low > -math.inf:
                wanted.append(f"above {low:g}" if about["above"] == low else f"at least {low:g}")
            if high < math.inf:
                wanted.append(f"below {high:g}" if about["below"] == high else f"at most {high:g}")
            kind = "a whole number" if isinstance(value, int) else "a number"
            raise ValueError(f"{one.name} {value}: expected {kind} {' and '.join(wanted) or 'that is finite'}")


def add_arguments(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add a flag for every option of a group, each group under the first line of its docstring.

    A flag that is not given is absent from the parsed namespace, so that defaults are said by the dataclass alone.
    """
    groups: dict[type, Any] = {}
    for group, one, hint in walk(cls):
        if group not in groups:
            groups[group] = parser.add_argument_group((group.__doc__ or "").partition("\n")[0].rstrip(".").lower())
        about, kind = one.metadata, value_kind(hint)
        shown = about["unset"] if one.default is None else one.default
        text = about["help"] + (f" (default: {shown})" if shown not in ("", None) and kind is not bool else "")
        flag, words = "--" + one.name.replace("_", "-"), {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
        if kind is bool:
            groups[group].add_argument(flag, action=argparse.BooleanOptionalAction, **words)
        elif about["choices"]:
            groups[group].add_argument(flag, choices=about["choices"], **words)
        else:
            metavar = about["metavar"] or {int: "N", float: "X", str: "TEXT"}[kind]
            groups[group].add_argument(flag, type=kind, metavar=metavar, **words)


def value_kind(hint: Any) -> type:
    """Return int, float, str or bool for the type of an option, which may allow None too."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]
    assert len(kinds) == 1 and kinds[0] in KIND_NAMES, hint
    return kinds[0]


def build(cls: type[T], given: Mapping[str, Any]) -> T:
    """Return a group of options from values by name; names of other groups are left alone."""
    hints, values = get_type_hints(cls), {}
    for one in fields(cls):  # type: ignore[arg-type]
        if is_dataclass(hints[one.name]):
            values[one.name] = build(hints[one.name], given)
        elif one.name in given:
            values[one.name] = given[one.name]
        elif one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{one.name}: expected a value")
    return cls(**values)


def flat(options: Any) -> dict[str, Any]:
    """Return all values of a group and of the groups in it, by name."""
    found: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        found |= flat(value) if is_dataclass(value) else {one.name: value}
    return found
