"""The option --max-bad-share, the same for every verb that reads a corpus."""

import argparse

from asr_parallel.corpus.validate import MAX_BAD_SHARE


def add_max_bad_share(parser: argparse.ArgumentParser) -> None:
    """Add the option --max-bad-share."""
    parser.add_argument(
        "--max-bad-share",
        type=_share,
        default=MAX_BAD_SHARE,
        help="share of recordings, sides or utterances that may be bad before it is an error (default: %(default)s)",
    )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return share
