"""Verb `train-tri`: triphone GMM on a phonetic decision tree (stage 3)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.cli import train_mono
from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.record.options import Checked, build, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class TriOptions(Checked):
    """Triphones."""

    leaves: int | None = option(
        None, "of the tree at most", least=1, unset="by hours and speakers of the data, see hmm/tri_sizes.py"
    )
    num_gauss: int | None = option(
        None, "Gaussians in all", least=1, unset="by hours and speakers of the data, see hmm/tri_sizes.py"
    )
    boost_silence: float = option(
        1.0, "factor on silence while aligning", above=0, source="Kaldi steps/train_deltas.sh"
    )
    seed: int = option(0, "of random directions", least=0)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return TriOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    train_mono.add_arguments(parser)
    parser.add_argument("--ali", type=Path, required=True, help="system or alignment folder to start from")


def run(args: argparse.Namespace) -> None:
    """Train the system."""
    from asr_parallel.features.config import copy_kind
    from asr_parallel.hmm.alignment import AlignmentSet
    from asr_parallel.hmm.lang import Lang, check_phones
    from asr_parallel.hmm.training_set import TrainingSet
    from asr_parallel.hmm.transitions import TransitionModel
    from asr_parallel.hmm.tri import schedule, train_tri
    from asr_parallel.hmm.tri_sizes import sizes_for

    options, jobs = build(TriOptions, vars(args)), build(JobOptions, vars(args)).count

    def make(folder: Path) -> None:
        old, alignments = TransitionModel.open(args.ali), AlignmentSet.open(args.ali / "ali")
        lang = Lang.open(args.lang)
        check_phones(lang, old.topology, args.ali)
        data = TrainingSet.open(args.data, args.feats, lang)
        by_data = sizes_for(data)
        plan = schedule(options.num_gauss or by_data.num_gauss, options.boost_silence)
        leaves = options.leaves or by_data.leaves
        train_tri(data, lang, old, alignments, leaves, plan, jobs, options.seed).save(folder)
        copy_kind(args.feats, folder)

    inputs = {"data": args.data, "lang": args.lang, "feats": args.feats, "ali": args.ali}
    run_stage(args.out, make, number=3, inputs=inputs, options=asdict(options))
