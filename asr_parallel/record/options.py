"""Options as dataclass fields: said once, read from a command line or a file, checked, shown by --help.

    @dataclass(frozen=True)
    class ElasticOptions:
        elastic_beta: float = option(0.9, "alpha times K", above=0, source="Zhang et al., section 5")

A field's name is its flag (--elastic-beta) and its key in a YAML file. A group of options may hold other groups; names
are unique over all of them, so that files and records stay flat.
"""

import argparse
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")


class Choices(Sequence[str]):
    """Allowed words as they are when they are asked for: others may be registered later."""

    def __init__(self, words: Callable[[], Sequence[str]]) -> None:
        """Keep the function that returns them."""
        self._words = words

    def __len__(self) -> int:
        return len(self._words())

    def __getitem__(self, index: Any) -> Any:
        return self._words()[index]


@dataclass(frozen=True, slots=True)
class About:
    """The facts about an option beside its name, type and default.

    help: phrase for --help. choices: allowed words.
    least, above, most, below: limits of a number, the first and third inclusive.
    unset: for --help, the meaning of the default None. source: of the default, a paper or a file of Kaldi's.
    path: names a file or folder, whose contents count and not its name.
    task: part of what is learnt, in which trainings must agree to be compared; else of how it is learnt.
    affects_result: whether a result depends on it.
    """

    help: str
    choices: Sequence[str] = ()
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    unset: str = ""
    source: str = ""
    metavar: str | None = None
    path: bool = False
    task: bool = False
    affects_result: bool = True


def option(default: Any, help: str, **about: Any) -> Any:
    """Return a dataclass field for an option with this default; `about` are fields of About."""
    return field(default=default, metadata={"about": About(help, **about)})


def about(one: Field[Any]) -> About:
    """Return the facts about an option."""
    return one.metadata["about"]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def walk(cls: type) -> Iterator[tuple[type, Field[Any], Any]]:
    """Yield (group, field, type) of every option of a group and of the groups in it."""
    hints = _hints(cls)
    for one in fields(cls):
        if is_dataclass(hints[one.name]):
            yield from walk(hints[one.name])
        elif "about" in one.metadata:
            yield cls, one, hints[one.name]


def check(options: Any) -> None:
    """Raise ValueError, with the option, its value and what was expected, when one of a group's own is out of range."""
    for one in fields(options):
        if "about" not in one.metadata or (value := getattr(options, one.name)) is None:
            continue
        facts = about(one)
        if facts.choices and value not in facts.choices:
            raise ValueError(f"unknown {one.name} {value!r}; expected one of {', '.join(facts.choices)}")
        if not isinstance(value, bool | str):
            for number in value if isinstance(value, tuple) else (value,):
                _check_number(one.name, number, facts)


class Checked:
    """A group of options that is checked when it is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        check(self)


def _check_number(name: str, value: float, facts: About) -> None:
    inside = facts.least <= value <= facts.most and facts.above < value < facts.below
    if not inside or not math.isfinite(value):
        limits = {"above": facts.above, "at least": facts.least, "below": facts.below, "at most": facts.most}
        kind = "a whole number" if isinstance(value, int) else "a number"
        wanted = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        of = " of " if wanted.startswith("at") else " "
        raise ValueError(f"{name} {value}: expected {kind}{of}{wanted or 'that is finite'}")


def add_arguments(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add a flag for every option of a group, each group under the first line of its docstring.

    A flag that is not given is absent from the parsed namespace: defaults are said by the dataclass alone.
    """
    sections: dict[type, Any] = {}
    for group, one, hint in walk(cls):
        if group not in sections:
            sections[group] = parser.add_argument_group((group.__doc__ or "").partition("\n")[0].rstrip("."))
        facts, kind = about(one), value_kind(hint)
        shown = facts.unset if one.default in (None, ()) else "" if one.default is False else shown_value(one.default)
        text = facts.help + (f" (default: {shown})" if shown else "")
        words: dict[str, Any] = {"help": text.replace("%", "%%"), "default": argparse.SUPPRESS}
        if kind is bool:
            words["action"] = argparse.BooleanOptionalAction
        elif facts.choices:
            words["choices"] = tuple(facts.choices)
        else:
            metavar = facts.metavar or {int: "N", float: "X", str: "TEXT", tuple: "X,X"}[kind]
            words |= {"type": _numbers if kind is tuple else kind, "metavar": metavar}
        sections[group].add_argument(flag(one.name), **words)


def flag(name: str) -> str:
    """Return the command line's form of an option's name."""
    return "--" + name.replace("_", "-")


def value_kind(hint: Any) -> type:
    """Return int, float, str, bool or tuple (of float) for the type of an option, which may allow None too."""
    if hint == tuple[float, ...]:
        return tuple
    (kind,) = [one for one in get_args(hint) or (hint,) if one is not NoneType]
    assert kind in (int, float, str, bool), hint
    return kind


def shown_value(value: Any) -> str:
    """Return a default as it would be given on the command line."""
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else f"{value}"


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between, got {text!r}") from error


def names(cls: type) -> frozenset[str]:
    """Return the names of all options of a group and of the groups in it."""
    return frozenset(one.name for _, one, _ in walk(cls))


def build(cls: type[T], given: Mapping[str, Any]) -> T:
    """Return a group from values by name, those that are not None; names of other groups are left alone."""
    hints, values = _hints(cls), {}  # type: ignore[arg-type]
    for one in fields(cls):  # type: ignore[arg-type]
        if is_dataclass(hints[one.name]):
            values[one.name] = build(hints[one.name], given)
        elif "about" in one.metadata and given.get(one.name) is not None:
            value = given[one.name]
            values[one.name] = (
                float(value) if isinstance(value, int) and value_kind(hints[one.name]) is float else value
            )
    return cls(**values)


def flat(options: Any) -> dict[str, Any]:
    """Return all values of a group and of the groups in it, by name."""
    found: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        found |= flat(value) if is_dataclass(value) else {one.name: value}
    return found


def find(options: Any) -> dict[str, About]:
    """Return the facts about all options of a group and of the groups in it, by name."""
    found: dict[str, About] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        found |= find(value) if is_dataclass(value) else {one.name: about(one)} if "about" in one.metadata else {}
    return found


def build_chosen(kind: str, name: str, known: Mapping[str, type], given: Mapping[str, Any]) -> Any:
    """Return the options of one of several alternatives, of which each has a group of its own.

    Args:
        kind: of the alternatives, for messages: "algorithm", say.
        name: of the chosen one.
        known: the groups by name.
        given: values by name; None stands for a default, and names that no alternative has are left alone.

    Raises:
        ValueError: an unknown name, a value out of range, or an option that only other alternatives have.
    """
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; expected one of {', '.join(known)}")
    for key, value in given.items():
        if value is not None and key not in names(known[name]):
            refuse(kind, name, key, value, sorted(other for other in known if key in names(known[other])))
    own: Any = build(known[name], given)
    check(own)
    return own


def refuse(kind: str, name: str, key: str, value: Any, users: list[str]) -> None:
    """Raise ValueError for an option that the chosen alternative does not have and others, the users, do."""
    if users:
        raise ValueError(f"{key} {value!r} is of no use to {kind} {name}, only to {', '.join(users)}")


def picked(title: str, wanted: Mapping[type, Collection[str]]) -> type:
    """Return a group with some options of others, as they are there: their names by group."""
    options = [
        (one.name, hint, field(default=one.default, metadata=one.metadata))
        for cls, of_cls in wanted.items()
        for _, one, hint in walk(cls)
        if one.name in of_cls
    ]
    group = make_dataclass("Picked", options, frozen=True)
    group.__doc__ = title
    return group


def merged(title: str, known: Mapping[str, type]) -> type:
    """Return a group with the options of several alternatives; its defaults are None.

    Options of the same name are one, whose help says which alternatives have it, and their defaults where they differ.
    """
    users: dict[str, list[tuple[str, Field[Any], Any]]] = {}
    for name, cls in known.items():
        for _, one, hint in walk(cls):
            users.setdefault(one.name, []).append((name, one, hint))
    options = []
    for key, uses in users.items():
        defaults: dict[str, list[str]] = {}
        for name, one, _ in uses:
            defaults.setdefault(about(one).unset if one.default is None else f"{one.default}", []).append(name)
        shown = "; ".join(f"{', '.join(of)}: {text}" if len(defaults) > 1 else text for text, of in defaults.items())
        first, hint = about(uses[0][1]), uses[0][2]
        some = "" if len(uses) == len(known) else f"{', '.join(name for name, _, _ in uses)}: "
        choices = tuple(dict.fromkeys(word for _, one, _ in uses for word in about(one).choices))
        options.append(
            (key, hint, option(None, some + first.help, choices=choices, unset=shown, metavar=first.metavar))
        )
    group = make_dataclass("Merged", options, frozen=True)
    group.__doc__ = title
    return group
