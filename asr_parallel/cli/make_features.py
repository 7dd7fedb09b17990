"""Verb `make-features`: a feature archive of a data folder (stage 2)."""

import argparse
from pathlib import Path

from asr_parallel.cli.max_bad_share import add_max_bad_share
from asr_parallel.features.extractors import BACKENDS, DITHER, KINDS
from asr_parallel.record.environment import cpu_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="data folder of stage 0")
    parser.add_argument("--out", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--kind", choices=sorted(KINDS), default="mfcc", help="default: %(default)s")
    parser.add_argument("--feature-backend", choices=BACKENDS, default=BACKENDS[0], help="default: %(default)s")
    parser.add_argument(
        "--dither",
        type=float,
        default=DITHER,
        help="white noise added to all audio, standard deviation in 16-bit steps (default: %(default)s, as in Kaldi; "
        "0: none)",
    )
    parser.add_argument(
        "--noise-floors-db",
        type=_factors,
        default=(),
        metavar="DB,DB",
        help="level of white noise below each utterance's speech level, which masks differences in recording noise; "
        "several: copies (default: none)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the noise (default: %(default)s)")
    parser.add_argument(
        "--speed-factors", type=_factors, default=(1.0,), metavar="F,F", help="copies at these speeds (default: 1.0)"
    )
    parser.add_argument(
        "--warp-factors",
        type=_factors,
        default=(1.0,),
        metavar="F,F",
        help="copies with these vocal-tract length factors (default: 1.0)",
    )
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="processes (default: %(default)s)")
    add_max_bad_share(parser)


def _factors(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between, got {text!r}") from error


def run(args: argparse.Namespace) -> None:
    from asr_parallel.corpus.datadir import sound_files
    from asr_parallel.features.augment import perturbations
    from asr_parallel.features.compute import FeatureOptions, compute_features
    from asr_parallel.record.stage import run_stage

    options = FeatureOptions(
        args.kind,
        args.feature_backend,
        args.dither,
        args.seed,
        tuple(perturbations(args.speed_factors, args.warp_factors, args.noise_floors_db)),
    )
    run_stage(
        args.out,
        lambda folder: compute_features(args.data, folder, options, args.jobs, args.max_bad_share),
        number=2,
        inputs={"data": args.data},
        options={
            "kind": args.kind,
            "feature_backend": args.feature_backend,
            "dither": args.dither,
            "noise_floors_db": args.noise_floors_db,
            "seed": args.seed,
            "speed_factors": args.speed_factors,
            "warp_factors": args.warp_factors,
            "max_bad_share": args.max_bad_share,
        },
        sounds=sound_files(args.data) if args.data.is_dir() else {},
    )
