"""Verb `align`: forced alignment of a data folder by a GMM system (stage 3)."""

import argparse
from pathlib import Path

from asr_parallel.cli.train_mono import check_positive
from asr_parallel.record.environment import cpu_count
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of a GMM system")
    parser.add_argument("--data", type=Path, required=True, help="data folder with transcripts")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder the system was trained with")
    parser.add_argument("--feats", type=Path, required=True, help="MFCC folder of the data")
    parser.add_argument("--out", type=Path, required=True, help="folder to make: ali/, tree and transition model")
    parser.add_argument("--beam", type=float, default=10.0, help="of the first try (default: %(default)s)")
    parser.add_argument(
        "--boost-silence", type=float, default=1.0, help="factor on silence's likelihoods (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="threads (the result does not depend on it)")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.hmm.align import align_data
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.hmm.training_set import TrainingSet

    check_positive(args, "beam", "boost_silence", "jobs")

    def build(folder: Path) -> None:
        lang = Lang.open(args.lang)
        data = TrainingSet.open(args.data, args.feats, lang)
        align_data(args.model, data, lang, folder, args.beam, args.boost_silence, args.jobs)

    run_stage(
        args.out,
        build,
        number=3,
        inputs={"model": args.model, "data": args.data, "lang": args.lang, "feats": args.feats},
        options={"beam": args.beam, "boost_silence": args.boost_silence},
    )
