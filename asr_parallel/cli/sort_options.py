"""Verb `sort-options`: the options that a recipe does not know, given to the verbs that do, and checked.

A recipe calls it before its first stage (recipes/common.sh). For every word that a verb is to get, a line
`DESTINATION<TAB>WORD` is printed, and for every set `sets<TAB>SET:TUNING_SET`. Modules of verbs are imported only where
they are needed: torch takes seconds.
"""

import argparse
import importlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from asr_parallel.corpus.set_names import parse_sets
from asr_parallel.record.options import add_arguments as add_options
from asr_parallel.record.options import flag, value_kind, walk
from asr_parallel.record.program import VERBS, check_options

AUGMENTATION = frozenset({"noise_floors_db", "speed_factors", "warp_factors"})
# Options of RBMs that are those of the network that begins as them
AS_NETWORK = frozenset(
    {"hidden_dim", "precision", "device", "workers", "period", "share_by", "processes", "threads", "interface"}
    | {"timeout", "resume", "report_frames", "checkpoint_frames"}
)


@dataclass(frozen=True)
class Destination:
    """A use of a verb in a recipe.

    stage: that calls the verb. prefix: of its flags in the recipe (--rbm-epochs is --epochs of pretrain-rbm), "" for
    none. shared: options that it gets without the prefix, too. fixed: options that recipes set themselves.
    """

    stage: int
    verb: str
    prefix: str = ""
    shared: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()


DESTINATIONS = {
    "synthesize": Destination(0, "synthesize", fixed=frozenset({"seed", "jobs"})),
    "prepare_swbd": Destination(0, "prepare-swbd"),
    "prepare_digits": Destination(0, "prepare-digits", fixed=frozenset({"seed"})),
    "import_kaldi": Destination(0, "import-kaldi"),
    "import_lhotse": Destination(0, "import-lhotse"),
    "lm": Destination(1, "lm"),
    "feats": Destination(2, "make-features", fixed=AUGMENTATION | {"kind", "seed", "jobs"}),
    "fbank": Destination(2, "make-features", "fbank", fixed=frozenset({"kind", "jobs"})),
    "train_fbank": Destination(2, "make-features", "train-fbank", fixed=frozenset({"kind", "jobs"})),
    "mono": Destination(3, "train-mono", "mono", fixed=frozenset({"jobs"})),
    "tri": Destination(3, "train-tri", "tri", fixed=frozenset({"jobs"})),
    "frames": Destination(4, "make-frames"),
    "rbm": Destination(5, "pretrain-rbm", "rbm", shared=AS_NETWORK, fixed=frozenset({"layers", "seed"})),
    "dnn": Destination(6, "train-dnn", fixed=frozenset({"seed"})),
    "decode": Destination(7, "decode", fixed=frozenset({"jobs"})),
    "score": Destination(7, "score"),
    "compare": Destination(8, "compare", fixed=frozenset({"sets", "jobs", "evaluate_frames"})),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    own = "a destination and the recipe's own words for it; may be repeated"
    parser.add_argument("--own", action="append", default=[], metavar="NAME=WORDS", help=own)
    stages = "the stages to run, whose verbs' words are checked, as are all that the user gave"
    parser.add_argument("--stages", default="0:8", metavar="FIRST:LAST", help=stages)
    parser.add_argument("--sets", help="the recipe's sets, which are checked")
    others = "flags that the recipe does not know, each with a value"
    parser.add_argument("passed", metavar="--FLAG VALUE", nargs="*", help=others)


def run(args: argparse.Namespace) -> None:
    """Print the words of each destination, and the set that chooses the scoring weights of each set."""
    sets = {} if args.sets is None else parse_sets(args.sets)
    own = dict(one.split("=", 1) for one in args.own)
    found: dict[str, list[str]] = {name: [] for name in own}
    for word, value in zip(args.passed[::2], args.passed[1::2], strict=True):
        takers = _takers(word, own)
        if not takers:
            raise ValueError(_unknown(word, own))
        for name, (verbs_word, kind) in takers.items():
            found[name] += _flags(verbs_word, kind, value)
    first, _, last = args.stages.partition(":")
    for name, words in found.items():
        if words or int(first) <= DESTINATIONS[name].stage <= int(last):
            _check(DESTINATIONS[name], shlex.split(own[name]) + words)
        for word in words:
            print(f"{name}\t{word}")
    for name, tuning in sets.items():
        print(f"sets\t{name}:{tuning}")


def _takers(word: str, names: Iterable[str]) -> dict[str, tuple[str, type]]:
    """Return the verb's flag and its kind for every destination that takes a word; a prefix of theirs decides."""
    prefixed = [name for name in names if (one := DESTINATIONS[name]).prefix and word.startswith(f"--{one.prefix}-")]
    for some in (prefixed, names):
        taken = {name: options[word] for name in some if word in (options := options_of(DESTINATIONS[name]))}
        if taken:
            return taken
    return {}


@cache
def options_of(destination: Destination) -> dict[str, tuple[str, type]]:
    """Return the verb's flag and the kind of every option that a destination takes, by the recipe's flag."""
    found = {}
    for group in _module(destination).option_groups():
        for _, one, hint in walk(group):
            if one.name in destination.fixed:
                continue
            names = {f"{destination.prefix}-{one.name}" if destination.prefix else one.name}
            for name in names | ({one.name} & destination.shared):
                found[flag(name)] = (flag(one.name), value_kind(hint))
    return found


def _module(destination: Destination) -> Any:
    return importlib.import_module(VERBS[destination.verb][0])


def _flags(word: str, kind: type, value: str) -> list[str]:
    """Return the words of the verb for a flag and a value of the recipe, where all flags have values."""
    if kind is not bool:
        return [f"{word}={value}"]  # one word, so that a value may begin with a hyphen
    if value not in ("true", "false"):
        raise ValueError(f"option {word} must be true or false, not {value!r}")
    return [word if value == "true" else f"--no-{word[2:]}"]


def _check(destination: Destination, words: Sequence[str]) -> None:
    """Raise ValueError where the verb would not take its words."""
    parser = _Parser(allow_abbrev=False)
    for group in _module(destination).option_groups():
        add_options(parser, group)
    check_options(destination.verb, vars(parser.parse_args(words)))


def _unknown(word: str, own: dict[str, str]) -> str:
    for name, destination in DESTINATIONS.items():
        if name not in own and word in options_of(destination):
            return f"{word} is an option of {destination.verb}, which has no part in this run"
    return f"unknown option {word} (--help lists the options)"
