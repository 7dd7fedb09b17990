"""The algorithms by name: the only list of them.

An algorithm registers itself in its own file:

    @register("elastic", options=ElasticOptions, paper="arXiv 1412.6651", rule="...", use="...")
    class Elastic(Algorithm): ...

Modules of parallel/algorithms/, parallel/ecdnn/ and parallel/asynchronous/rules/ are found by being there. Others are
named in the environment variable ASR_PARALLEL_PLUGINS, modules or Python files with commas between, which all
processes of a run read.
"""

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from asr_parallel.parallel.algorithm import Algorithm, BaseAlgorithm, NoOptions
from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.record.options import Choices

PLUGINS = "ASR_PARALLEL_PLUGINS"
PACKAGES = (
    "asr_parallel.parallel.algorithms",
    "asr_parallel.parallel.ecdnn",
    "asr_parallel.parallel.asynchronous.rules",
)

A = TypeVar("A", bound=type[BaseAlgorithm])


@dataclass(frozen=True, slots=True)
class Entry:
    """An algorithm.

    options: dataclass of its own options, with fields made by `record.options.option`.
    paper, rule, use: where it is from, what it does and when to use it, a line each, for tables.
    """

    name: str
    cls: type[BaseAlgorithm]
    options: type
    paper: str
    rule: str
    use: str

    @property
    def own_options(self) -> frozenset[str]:
        """Names of its own options."""
        return frozenset(one.name for one in fields(self.options))

    @property
    def communicates(self) -> bool:
        """True when workers exchange models or gradients."""
        return self.cls.exchanges_models or self.cls.sum_gradients is not None

    @property
    def needs_models_alone(self) -> bool:
        """True when its rule needs workers' models, and neither gradients, nor whole epochs, nor a part in the loop."""
        cls = self.cls
        if not issubclass(cls, Algorithm):
            return False
        in_loop = cls.rounds_of_epochs or cls.training_hook is not Algorithm.training_hook
        return cls.sum_gradients is None and not in_loop


_entries: dict[str, Entry] = {}
_imported: set[str] = set()
_modules: list[str] = []  # of this package, in the order of their algorithms


def register(
    name: str, *, options: type = NoOptions, paper: str = "", rule: str = "", use: str = ""
) -> Callable[[A], A]:
    """Return a class decorator that makes an algorithm known by a name; ValueError when another one has it."""

    def add(cls: A) -> A:
        before = _entries.get(name)
        if before is not None and before.cls.__qualname__ != cls.__qualname__:
            raise ValueError(f"algorithm {name}: is registered by {before.cls.__module__} already; expected a new name")
        _entries[name] = Entry(name, cls, options, paper, rule, use)
        return cls

    return add


def entries() -> list[Entry]:
    """Return all algorithms: those of this package in the order of their modules' names, then plug-ins."""
    for package in PACKAGES:
        if package not in _imported:
            _imported.add(package)
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
                importlib.import_module(module.name)
                _modules.append(module.name)
    for plugin in filter(None, os.environ.get(PLUGINS, "").split(",")):
        if plugin not in _imported:
            _imported.add(plugin)
            _import(plugin)
    places = {name: place for place, name in enumerate(_modules)}  # not the order of imports: others import them too
    return sorted(_entries.values(), key=lambda one: places.get(one.cls.__module__, len(places)))


def names() -> tuple[str, ...]:
    """Return the names of all algorithms."""
    return tuple(one.name for one in entries())


def entry(name: str) -> Entry:
    """Return an algorithm; ValueError for an unknown name."""
    for one in entries():
        if one.name == name:
            return one
    raise ValueError(f"unknown algorithm {name!r}; expected one of {', '.join(names())}")


def synchronous(name: str) -> type[Algorithm]:
    """Return the class of a synchronous algorithm; ValueError for an unknown name or another kind."""
    cls = entry(name).cls
    if not issubclass(cls, Algorithm):
        raise ValueError(f"algorithm {name}: its workers do not synchronize; expected another algorithm")
    return cls


def asynchronous(name: str) -> type[AsyncAlgorithm]:
    """Return the class of an asynchronous algorithm; ValueError for an unknown name or another kind."""
    cls = entry(name).cls
    if not issubclass(cls, AsyncAlgorithm):
        raise ValueError(f"algorithm {name}: its workers synchronize; expected an asynchronous algorithm")
    return cls


ALGORITHMS = Choices(names)


def _import(plugin: str) -> None:
    """Import a module by name or file; ValueError when there is none."""
    if not plugin.endswith(".py"):
        try:
            importlib.import_module(plugin)
        except ModuleNotFoundError as error:
            raise ValueError(f"{PLUGINS}: {plugin}: {error}; expected a module or a Python file") from error
        return
    path = Path(plugin).resolve()
    if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"{PLUGINS}: {plugin}: is not there; expected a module or a Python file")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
