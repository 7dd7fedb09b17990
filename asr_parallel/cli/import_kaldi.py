"""Verb `import-kaldi`: a data folder from a Kaldi data directory (stage 0)."""

import argparse
from pathlib import Path

from asr_parallel.cli.max_bad_share import add_max_bad_share
from asr_parallel.corpus.kaldi_dir import import_kaldi


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        required=True,
        help="wav.scp of plain files, text, utt2spk; optionally segments, reco2file_and_channel, stm, glm",
    )
    parser.add_argument("--out", type=Path, metavar="E/data/NAME", required=True, help="data folder to write")
    parser.add_argument(
        "--empty-transcripts",
        choices=("keep", "drop"),
        help="utterances without words: keep them, as scoring needs, or drop them, as for training (default: drop in a "
        "folder named train, else keep)",
    )
    parser.add_argument(
        "--sampling-rate",
        type=_rate,
        metavar="HZ",
        help="sampling rate of the recordings to keep (default: auto, the common rate, or that of --like)",
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="E/data/NAME",
        help="a data folder, such as the training set's, whose sampling rate these recordings must have",
    )
    add_max_bad_share(parser)


def run(args: argparse.Namespace) -> None:
    """Import the directory."""
    keep_empty = None if args.empty_transcripts is None else args.empty_transcripts == "keep"
    import_kaldi(args.source, args.out, args.sampling_rate, args.max_bad_share, args.like, keep_empty)


def _rate(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected auto or a sampling rate in Hz, got {text!r}")
    return int(text)
