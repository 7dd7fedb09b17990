"""Options on the command line that a dataclass of options has under the same name."""

import argparse


def add_number(default: object, group: argparse._ArgumentGroup, name: str, text: str, kind: type = int) -> None:
    """Add --NAME, a number.

    Args:
        default: has an attribute `name`; its value is shown unless it is None.
        name: with underscores.
        text: for --help.
        kind: int or float.
    """
    value = getattr(default, name)
    shown = text if value is None else f"{text} (default: {value:g})"
    group.add_argument(_flag(name), type=kind, default=value, metavar="N", help=shown)


def add_choice(default: object, group: argparse._ArgumentGroup, name: str, known: tuple[str, ...], text: str) -> None:
    """Add --NAME, one of `known`; else as `add_number`."""
    value = getattr(default, name)
    shown = text if value is None else f"{text} (default: {value})"
    group.add_argument(_flag(name), choices=known, default=value, help=shown)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
