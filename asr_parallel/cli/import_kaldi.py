"""`asr-parallel import-kaldi`: a data folder from a Kaldi data directory (stage 0)."""

import argparse
from pathlib import Path

from asr_parallel.corpus.kaldi_dir import import_kaldi
from asr_parallel.corpus.validate import MAX_BAD_SHARE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        required=True,
        help="wav.scp of plain files, text, utt2spk, and segments, stm, glm when there",
    )
    parser.add_argument("--out", type=Path, metavar="E/data/NAME", required=True, help="the data folder to make")
    parser.add_argument("--sampling-rate", type=int, default=8000, help="of all recordings, Hz (default: %(default)s)")
    parser.add_argument(
        "--max-bad-share",
        type=float,
        default=MAX_BAD_SHARE,
        help="share of utterances that may be left out as bad before it is an error (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Import the directory."""
    import_kaldi(args.source, args.out, args.sampling_rate, args.max_bad_share)
