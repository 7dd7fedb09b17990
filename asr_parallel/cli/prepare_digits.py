"""Verb `prepare-digits`: connected digits from recordings of single digits (stage 0 of recipe digits)."""

import argparse
from pathlib import Path

from asr_parallel.cli.max_bad_share import add_max_bad_share
from asr_parallel.corpus.digits import HOW_TO_GET, TEST_SPEAKERS, prepare_digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="the corpus: DIR/recordings/DIGIT_SPEAKER_INDEX.wav")
    parser.add_argument(
        "--lists",
        type=Path,
        metavar="DIR",
        help="folder of {train,dev,test}.{list,text}, such as recipes/digits/lists (default: generated)",
    )
    parser.add_argument("--out", type=Path, metavar="E", required=True, help="experiment; writes E/corpus and E/data")
    parser.add_argument(
        "--test-speakers",
        default=",".join(TEST_SPEAKERS),
        help="speakers held out for testing when lists are generated (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of generated lists (default: %(default)s)")
    add_max_bad_share(parser)


def run(args: argparse.Namespace) -> None:
    """Prepare the data."""
    if args.corpus is None:
        raise ValueError(HOW_TO_GET)
    prepare_digits(args.corpus, args.lists, args.out, args.test_speakers.split(","), args.seed, args.max_bad_share)
