"""Architectures by name: each module here is one, and registers a function that makes its list of components.

    @register("dnn", options=DnnOptions)
    def dnn(options: DnnOptions, frame_dim: int, context: int, num_pdfs: int) -> NetworkSpec: ...

Options of the same name in several architectures are one option.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from asr_parallel.record.options import Choices, build

if TYPE_CHECKING:
    from asr_parallel.nnet.spec import NetworkSpec

Make = TypeVar("Make", bound="Callable[..., NetworkSpec]")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of network: a dataclass of options, and what makes a network from it and its inputs and outputs."""

    options: type
    make: Callable[[Any, int, int, int], NetworkSpec]


_architectures: dict[str, Architecture] = {}


def register(name: str, options: type) -> Callable[[Make], Make]:
    """Return a decorator that makes an architecture known by its name."""

    def add(make: Make) -> Make:
        _architectures[name] = Architecture(options, make)
        return make

    return add


def architectures() -> Mapping[str, Architecture]:
    """Return all architectures, by name."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return _architectures


def make_network(name: str, options: Mapping[str, Any], frame_dim: int, context: int, num_pdfs: int) -> NetworkSpec:
    """Return a network of an architecture.

    Args:
        name: the architecture's.
        options: values by name; those of other architectures are left alone.
        frame_dim: features of a frame.
        context: frames on either side in the windows that it is given.
        num_pdfs: number of outputs.

    Raises:
        ValueError: an unknown name, or an option out of range.
    """
    found = _find(name)
    return found.make(build(found.options, options), frame_dim, context, num_pdfs)


def _find(name: str) -> Architecture:
    known = architectures()
    if name not in known:
        raise ValueError(f"unknown architecture {name!r}; expected one of {', '.join(known)}")
    return known[name]


ARCHITECTURES = Choices(lambda: tuple(architectures()))
