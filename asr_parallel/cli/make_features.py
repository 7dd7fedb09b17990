"""Verb `make-features`: a feature archive of a data folder (stage 2)."""

import argparse
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions, JobOptions
from asr_parallel.record.options import build, flat


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.features.compute import FeatureOptions

    return FeatureOptions, BadInputOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--data", type=Path, required=True, help="data folder of stage 0")
    parser.add_argument("--out", type=Path, required=True, help="folder of the archive")


def run(args: argparse.Namespace) -> None:
    """Compute the features."""
    from asr_parallel.corpus.datadir import sound_files
    from asr_parallel.features.compute import FeatureOptions, compute_features
    from asr_parallel.record.stage import run_stage

    given = vars(args)
    options, bad, jobs = build(FeatureOptions, given), build(BadInputOptions, given), build(JobOptions, given)
    run_stage(
        args.out,
        lambda folder: compute_features(args.data, folder, options, jobs.count, bad.max_bad_share),
        number=2,
        inputs={"data": args.data},
        options=flat(options) | flat(bad),
        sounds=sound_files(args.data) if args.data.is_dir() else {},
    )
