"""Verb `import-kaldi-feats`: a feature archive from the features of a Kaldi data directory (stage 2)."""

import argparse
from dataclasses import asdict
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.record.options import build


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.features.kaldi_features import KaldiFeatureOptions

    return KaldiFeatureOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", required=True, help="feats.scp of plain files, utt2spk, optionally cmvn.scp"
    )
    parser.add_argument("--out", type=Path, metavar="E/feats/kaldi/NAME", required=True, help="folder of the archive")


def run(args: argparse.Namespace) -> None:
    """Import the features."""
    from asr_parallel.corpus.validate import write_dropped
    from asr_parallel.features.kaldi_features import KaldiFeatureOptions, feature_inputs, import_features
    from asr_parallel.record.stage import run_stage

    options, bad = build(KaldiFeatureOptions, vars(args)), build(BadInputOptions, vars(args))

    def make(folder: Path) -> None:
        write_dropped(folder, [import_features(args.data, folder, options, bad.max_bad_share)])

    tables, archives = feature_inputs(args.data)
    run_stage(
        args.out,
        make,
        number=2,
        inputs=tables,
        options=asdict(options) | asdict(bad),
        sounds=archives,
    )
