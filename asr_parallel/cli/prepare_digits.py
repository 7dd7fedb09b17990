"""Verb `prepare-digits`: connected digits from recordings of single digits (stage 0 of recipe digits)."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.corpus.digits import HOW_TO_GET, TEST_SPEAKERS, prepare_digits
from asr_parallel.record.options import Checked, build, option


@dataclass(frozen=True)
class ListOptions(Checked):
    """Lists, when they are generated."""

    test_speakers: str = option(",".join(TEST_SPEAKERS), "speakers held out for testing", metavar="NAME,NAME")
    seed: int = option(1, "of the lists", least=0)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ListOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="the corpus: DIR/recordings/DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument(
        "--lists",
        type=Path,
        metavar="DIR",
        help="folder of {train,dev,test}.{list,text}, such as recipes/digits/lists (default: generated)",
    )
    parser.add_argument("--out", type=Path, metavar="E", required=True, help="experiment; writes E/corpus and E/data")


def run(args: argparse.Namespace) -> None:
    """Prepare the data."""
    if args.corpus is None:
        raise ValueError(HOW_TO_GET)
    options, bad = build(ListOptions, vars(args)), build(BadInputOptions, vars(args))
    speakers = options.test_speakers.split(",")
    prepare_digits(args.corpus, args.lists, args.out, speakers, options.seed, bad.max_bad_share)
