"""Dataclasses from JSON: what fits, and one line that says what does not."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from asr_parallel.record.from_json import from_json


@dataclass(frozen=True)
class Inner:
    size: float
    name: str = ""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size {self.size}: expected at least 0")


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inners: tuple[Inner, ...] = ()
    facts: dict[str, str | int | None] = field(default_factory=dict)
    best: Inner | None = None
    whole: int = 0
    right: bool = False


GIVEN: dict[str, Any] = {
    "kind": "a", "inners": [{"size": 1}, {"size": 2.5, "name": "ü"}], "facts": {"x": 1, "y": "z", "n": None},
    "best": None, "whole": 3, "right": True,
}  # fmt: skip


def test_what_fits() -> None:
    outer = from_json(Outer, GIVEN, "f")
    assert outer == Outer("a", (Inner(1), Inner(2.5, "ü")), {"x": 1, "y": "z", "n": None}, None, 3, True)
    assert from_json(Outer, {"kind": "b"}, "f") == Outer("b")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "c"}, "f.kind: Invalid enum value 'c'"),
        ({"inners": {"size": 1}}, "f.inners: Expected `array`, got `object`"),
        ({"inners": [{"size": 1}, {}]}, "f.inners[1]: Object missing required field `size`"),
        ({"inners": [{"size": "1"}]}, "f.inners[0].size: Expected `float`, got `str`"),
        ({"inners": [{"size": True}]}, "f.inners[0].size: Expected `float`, got `bool`"),
        ({"inners": [{"size": math.nan}]}, "f.inners[0].size: expected a finite number, got nan"),
        ({"inners": [{"size": -1}]}, "f.inners[0]: size -1.0: expected at least 0"),
        ({"inners": [{"size": 1, "colour": 2}]}, "f.inners[0]: unknown key 'colour'; expected one of size, name"),
        ({"facts": {"x": [1]}}, "f.facts[...]: Expected `int | str | null`, got `array`"),
        ({"facts": [1]}, "f.facts: Expected `object`, got `array`"),
        ({"facts": {"x": "\ud800"}}, "f.facts.x: expected text, got some not Unicode at 0"),
        ({"inners": [{"size": 1, "name": "\ud800"}]}, "f.inners[0].name: expected text, got some not Unicode at 0"),
        ({"facts": {"\ud800": 1}}, "f.facts: expected text, got some not Unicode at 0"),
        ({"whole": 1.5}, "f.whole: Expected `int`, got `float`"),
        ({"right": 1}, "f.right: Expected `bool`, got `int`"),
        ({"kind": None}, "f.kind: Expected `str`, got `null`"),
        ({"colour": 2}, "f: unknown key 'colour'; expected one of kind, inners, facts, best, whole, right"),
    ],
)  # fmt: skip
def test_what_does_not(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        from_json(Outer, GIVEN | changed, "f")
    assert str(error.value) == message


def test_no_object_at_all() -> None:
    with pytest.raises(ValueError, match=r"^f: Expected `object`, got `array`$"):
        from_json(Outer, [], "f")
