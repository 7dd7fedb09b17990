"""Verb `train-mono`: monophone GMM from a flat start (stage 3)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.record.options import Checked, build, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class MonoOptions(Checked):
    """Monophones."""

    num_gauss: int = option(1000, "Gaussians in all", least=1, source="Kaldi steps/train_mono.sh")
    # Monophones need few frames a Gaussian; more speech only costs time (Kaldi's Switchboard recipe likewise takes the
    # shortest utterances, 30 k of 260 k)
    max_hours: float = option(1.0, "train on the shortest utterances up to this; all are aligned in the end", above=0)
    boost_silence: float = option(1.0, "factor on silence while aligning", above=0, source="Kaldi steps/train_mono.sh")
    seed: int = option(0, "of random directions", least=0)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return MonoOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of every verb that trains a GMM."""
    parser.add_argument("--data", type=Path, required=True, help="training data folder")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")
    parser.add_argument("--feats", type=Path, required=True, help="its MFCC folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the system, with alignments in ali/")


def run(args: argparse.Namespace) -> None:
    """Train the system."""
    from asr_parallel.features.config import copy_kind
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.hmm.mono import schedule, train_mono
    from asr_parallel.hmm.training_set import TrainingSet

    options, jobs = build(MonoOptions, vars(args)), build(JobOptions, vars(args)).count

    def make(folder: Path) -> None:
        lang = Lang.open(args.lang)
        data = TrainingSet.open(args.data, args.feats, lang)
        plan = schedule(options.num_gauss, options.boost_silence)
        train_mono(data, lang, plan, options.max_hours, jobs, options.seed).save(folder)
        copy_kind(args.feats, folder)

    inputs = {"data": args.data, "lang": args.lang, "feats": args.feats}
    run_stage(args.out, make, number=3, inputs=inputs, options=asdict(options))
