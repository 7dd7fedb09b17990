"""Verb `import-kaldi-ali`: a frame store from Kaldi's alignments, and its features or others (stage 4)."""

import argparse
from dataclasses import asdict
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.record.options import build, flag, names


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.features.frame_writer import FrameOptions
    from asr_parallel.features.kaldi_features import KaldiFeatureOptions
    from asr_parallel.hmm.kaldi.import_alignments import AlignmentOptions

    return FrameOptions, AlignmentOptions, KaldiFeatureOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--ali", type=Path, metavar="DIR", required=True, help="ali.*.gz, final.mdl and tree, such as exp/tri4_ali"
    )
    features = parser.add_mutually_exclusive_group(required=True)
    features.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="Kaldi's features: feats.scp of plain files, utt2spk, optionally cmvn.scp",
    )
    features.add_argument("--feats", type=Path, help="or other features of these utterances: an archive of stage 2")
    parser.add_argument("--out", type=Path, metavar="E/frames", required=True, help="folder of the frame store")


def run(args: argparse.Namespace) -> None:
    """Import the alignments."""
    from asr_parallel.features.frame_writer import FrameOptions
    from asr_parallel.features.kaldi_features import KaldiFeatureOptions, feature_inputs
    from asr_parallel.hmm.kaldi.import_alignments import (
        AlignmentOptions,
        KaldiAlignments,
        alignment_inputs,
        import_alignments,
        import_data,
    )
    from asr_parallel.record.stage import run_stage

    given = vars(args)
    frames, options = build(FrameOptions, given), build(AlignmentOptions, given)
    features, bad = build(KaldiFeatureOptions, given), build(BadInputOptions, given)
    if args.feats is not None and (useless := names(KaldiFeatureOptions) & given.keys()):
        raise ValueError(f"{flag(min(useless))} is of no use to the features of --feats; expected it with --data")

    def make(folder: Path) -> None:
        alignments = KaldiAlignments.open(args.ali)
        if args.data is not None:
            import_data(alignments, args.data, folder, frames, options, features, bad.max_bad_share)
        else:
            import_alignments(alignments, args.feats, folder, frames, options, bad.max_bad_share)

    tables, archives = ({"feats": args.feats}, {}) if args.data is None else feature_inputs(args.data)
    run_stage(
        args.out,
        make,
        number=4,
        inputs=tables | alignment_inputs(args.ali),
        options=asdict(frames) | asdict(options) | asdict(features) | asdict(bad),
        sounds=archives,
    )
