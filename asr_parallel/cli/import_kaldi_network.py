"""Verb `import-kaldi-network`: a network folder from Kaldi's nnet3 or nnet1 (stage 6)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--network",
        type=Path,
        metavar="FILE",
        required=True,
        help="final.raw or final.mdl of nnet3, final.nnet of nnet1",
    )
    parser.add_argument(
        "--feature-transform",
        type=Path,
        metavar="FILE",
        help="of an nnet1; not given: final.feature_transform beside it, if there",
    )
    parser.add_argument(
        "--class-counts",
        type=Path,
        metavar="FILE",
        help="frames of each pdf, for priors; not given: those in final.mdl, or ali_train_pdf.counts beside an nnet1",
    )
    features = parser.add_mutually_exclusive_group(required=True)
    features.add_argument("--frames", type=Path, metavar="DIR", help="frame store that train-dnn --start will train on")
    features.add_argument("--feats", type=Path, metavar="DIR", help="or features of the kind that decode will have")
    parser.add_argument("--out", type=Path, metavar="E/DNN", required=True, help="network folder to make")


def run(args: argparse.Namespace) -> None:
    """Import the network."""
    from asr_parallel.hmm.kaldi.export_system import CMVN_OPTS
    from asr_parallel.nnet.kaldi.import_network import (
        COUNTS,
        TRANSFORM,
        KaldiNetwork,
        import_for_features,
        import_for_store,
    )

    def make(folder: Path) -> None:
        source = KaldiNetwork.read(args.network, args.feature_transform, args.class_counts)
        if args.frames is not None:
            import_for_store(source, args.frames, folder)
        else:
            import_for_features(source, args.feats, folder)

    if not args.network.is_file():
        raise ValueError(f"{args.network}: no such file; expected a network of Kaldi's")
    given = {
        "network": args.network,
        "feature_transform": args.feature_transform or args.network.parent / TRANSFORM,
        "class_counts": args.class_counts or args.network.parent / COUNTS,
        CMVN_OPTS: args.network.parent / CMVN_OPTS,
    }
    inputs = {name: path for name, path in given.items() if path.is_file()}
    features = {"frames": args.frames} if args.frames is not None else {"features": args.feats}
    run_stage(args.out, make, number=6, inputs=inputs | features, options={})
