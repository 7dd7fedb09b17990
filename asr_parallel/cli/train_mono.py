"""Verb `train-mono`: monophone GMM from a flat start, and its alignments (stage 3)."""

import argparse
from pathlib import Path

from asr_parallel.record.environment import cpu_count
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training_arguments(parser)
    parser.add_argument("--num-gauss", type=int, default=1000, help="Gaussians in all (default: %(default)s)")
    parser.add_argument(
        "--max-hours",
        type=float,
        default=1.0,
        help="train on the shortest utterances up to this; all are aligned in the end (default: %(default)s)",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """What every verb that trains a GMM needs."""
    parser.add_argument("--data", type=Path, required=True, help="training data folder")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")
    parser.add_argument("--feats", type=Path, required=True, help="its MFCC folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the system, with alignments in ali/")
    parser.add_argument(
        "--boost-silence", type=float, default=1.0, help="factor on silence while aligning (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random directions (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="threads (the result does not depend on it)")


def check_positive(args: argparse.Namespace, *names: str) -> None:
    """ValueError naming the first option of `names` that is not above 0."""
    for name in names:
        if not getattr(args, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, not {getattr(args, name)}")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.features.config import copy_kind
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.hmm.mono import schedule, train_mono
    from asr_parallel.hmm.training_set import TrainingSet

    check_positive(args, "num_gauss", "max_hours", "boost_silence", "jobs")

    def build(folder: Path) -> None:
        lang = Lang.open(args.lang)
        data = TrainingSet.open(args.data, args.feats, lang)
        plan = schedule(args.num_gauss, args.boost_silence)
        train_mono(data, lang, plan, args.max_hours, args.jobs, args.seed).save(folder)
        copy_kind(args.feats, folder)

    run_stage(
        args.out,
        build,
        number=3,
        inputs={"data": args.data, "lang": args.lang, "feats": args.feats},
        options={
            "num_gauss": args.num_gauss,
            "max_hours": args.max_hours,
            "boost_silence": args.boost_silence,
            "seed": args.seed,
        },
    )
