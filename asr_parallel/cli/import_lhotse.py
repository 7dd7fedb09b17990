"""Verb `import-lhotse`: a data folder from lhotse's manifests (stage 0)."""

import argparse
from pathlib import Path

from asr_parallel.cli.import_kaldi import ImportOptions
from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.record.options import build


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ImportOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", required=True,
        help="manifest of cuts, Shar folder, or folder with *cuts_SET.jsonl.gz, or *recordings_SET.jsonl.gz and"
        " *supervisions_SET.jsonl.gz, or a Shar folder SET",
    )  # fmt: skip
    parser.add_argument("--set", dest="name", metavar="SET", help="set in the folder (default: the name of --out)")
    parser.add_argument("--out", type=Path, metavar="E/data/NAME", required=True, help="data folder to write")
    parser.add_argument(
        "--like", type=Path, metavar="E/data/NAME",
        help="a data folder, such as the training set's, whose sampling rate these recordings must have",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Import the manifests."""
    from asr_parallel.corpus.lhotse_import import import_lhotse

    options, bad = build(ImportOptions, vars(args)), build(BadInputOptions, vars(args))
    import_lhotse(
        args.source, args.out, args.name, options.sampling_rate, bad.max_bad_share, args.like, options.keep_empty
    )
