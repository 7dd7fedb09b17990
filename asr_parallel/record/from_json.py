"""Dataclasses from what JSON gave, with one clear line where it does not fit."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NAMES = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", NoneType: "null"}


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Build a value of some kind from JSON's objects, lists, texts and numbers.

    Args:
        kind: a dataclass, str, int, float, bool, None, a Literal, dict[str, X], tuple[X, ...] (a list in JSON) or a
            union of these, tried in their order.
        where: what an error names first, such as the file.

    Raises:
        ValueError: a value of another kind, a key that is missing or unknown, a number that is not finite, or a text
            that is not Unicode; in one line that says where.
    """
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _object(kind, value, where)
    if origin is dict:
        items = _mapping(value, where)
        return {key: from_json(get_args(kind)[1], item, f"{where}.{key}") for key, item in items.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, got {_short(value)}")
        return tuple(from_json(get_args(kind)[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin in (Union, UnionType):
        return _one_of(get_args(kind), value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{where}: expected one of {', '.join(get_args(kind))}, got {_short(value)}")
        return value
    return _plain(kind, value, where)


def _object(kind: Any, value: Any, where: str) -> Any:
    items, hints = _mapping(value, where), get_type_hints(kind)
    unknown = sorted(items.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected one of {', '.join(hints)}")
    for field in fields(kind):
        if field.name not in items and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: expected a key {field.name!r}")
    given = {name: from_json(hints[name], item, f"{where}.{name}") for name, item in items.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    if len(kinds) == 1:
        return from_json(kinds[0], value, where)
    for kind in kinds:
        try:
            return from_json(kind, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: expected {' or '.join(NAMES.get(k, 'an object') for k in kinds)}, got {_short(value)}")


def _plain(kind: Any, value: Any, where: str) -> Any:
    assert kind in NAMES, f"{where}: values of kind {kind} are not read"
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where}: expected {NAMES[kind]}, got {_short(value)}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where}: expected {NAMES[kind]}, got {value}")
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: expected text, got some not Unicode at {error.start}") from error
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}: expected an object, got {_short(value)}")
    for key in value:
        _plain(str, key, where)
    return dict(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
