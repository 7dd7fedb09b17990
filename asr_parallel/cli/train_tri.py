"""Verb `train-tri`: phonetic decision tree and triphone GMM on another system's alignments (stage 3)."""

import argparse
from pathlib import Path

from asr_parallel.cli.train_mono import add_training_arguments, check_positive
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training_arguments(parser)
    parser.add_argument("--ali", type=Path, required=True, help="system or alignment folder to start from")
    parser.add_argument("--leaves", type=int, default=800, help="leaves of the tree at most (default: %(default)s)")
    parser.add_argument("--num-gauss", type=int, default=8000, help="Gaussians in all (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.features.config import copy_kind
    from asr_parallel.hmm.alignment import AlignmentSet
    from asr_parallel.hmm.lang import Lang, check_phones
    from asr_parallel.hmm.training_set import TrainingSet
    from asr_parallel.hmm.transitions import TransitionModel
    from asr_parallel.hmm.tri import schedule, train_tri

    check_positive(args, "leaves", "num_gauss", "boost_silence", "jobs")

    def build(folder: Path) -> None:
        old, alignments = TransitionModel.open(args.ali), AlignmentSet.open(args.ali / "ali")
        lang = Lang.open(args.lang)
        check_phones(lang, old.topology, args.ali)
        data = TrainingSet.open(args.data, args.feats, lang)
        plan = schedule(args.num_gauss, args.boost_silence)
        train_tri(data, lang, old, alignments, args.leaves, plan, args.jobs, args.seed).save(folder)
        copy_kind(args.feats, folder)

    run_stage(
        args.out,
        build,
        number=3,
        inputs={"data": args.data, "lang": args.lang, "feats": args.feats, "ali": args.ali},
        options={
            "leaves": args.leaves,
            "num_gauss": args.num_gauss,
            "boost_silence": args.boost_silence,
            "seed": args.seed,
        },
    )
