"""Verb `prepare-swbd`: data folders from the Switchboard discs or the synthetic corpus (stage 0 of recipe swbd)."""

import argparse
from pathlib import Path

from asr_parallel.cli.max_bad_share import add_max_bad_share
from asr_parallel.corpus.prepare import prepare_swbd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--audio", type=Path, metavar="DIR", required=True, help="LDC97S62: sw0NNNN.sph below it")
    parser.add_argument("--transcripts", type=Path, metavar="DIR", required=True, help="MS-State transcripts")
    parser.add_argument("--eval-audio", type=Path, metavar="DIR", required=True, help="LDC2002S09, with hub5e_00.pem")
    parser.add_argument("--eval-transcripts", type=Path, metavar="DIR", required=True, help="LDC2002T43: stm and glm")
    parser.add_argument("--out", type=Path, metavar="E/data", required=True, help="folder for train, dev and eval")
    parser.add_argument(
        "--dev-utterances",
        type=int,
        metavar="N",
        help="held out from training, in whole conversations (default: 4000 of the full corpus, 7 %% of a small one)",
    )
    add_max_bad_share(parser)


def run(args: argparse.Namespace) -> None:
    """Prepare the data."""
    prepare_swbd(
        args.audio,
        args.transcripts,
        args.eval_audio,
        args.eval_transcripts,
        args.out,
        args.dev_utterances,
        args.max_bad_share,
    )
