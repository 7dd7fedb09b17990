"""Dataclasses from what JSON gave, with one clear line where it does not fit."""

import math
from dataclasses import asdict
from typing import Any

import msgspec


def from_json(kind: Any, value: Any, where: str) -> Any:
    """Build a dataclass from JSON's objects, lists, texts and numbers.

    Args:
        where: what an error names first, such as the file.

    Raises:
        ValueError: a value of another kind, a key that is missing or unknown, a number that is not finite, or a text
            that is not Unicode; in one line that says where.
    """
    try:
        made = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).rpartition(" - at `$")
        raise ValueError(f"{where}{place.rstrip('`')}: {message}" if message else f"{where}: {error}") from error
    _check(value, asdict(made), where)
    return made


def _check(value: Any, taken: Any, where: str) -> None:
    """Raise a ValueError for what msgspec lets pass. taken: the same, without what the dataclass has no field for."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in taken:
                raise ValueError(f"{where}: unknown key {key!r}; expected one of {', '.join(taken)}")
            _check(key, key, where)
            _check(item, taken[key], f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for n, item in enumerate(value):
            _check(item, taken[n], f"{where}[{n}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {value}")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: expected text, got some not Unicode at {error.start}") from error
