"""Verb `align`: forced alignment of any data by a trained GMM system (stage 3)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.record.options import Checked, build, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class AlignOptions(Checked):
    """Alignment."""

    beam: float = option(10.0, "of the first try", above=0, source="Kaldi steps/align_si.sh")
    boost_silence: float = option(1.0, "factor on silence's likelihoods", above=0, source="Kaldi steps/align_si.sh")


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return AlignOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--model", type=Path, required=True, help="folder of a GMM system")
    parser.add_argument("--data", type=Path, required=True, help="data folder with transcripts")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder the system was trained with")
    parser.add_argument("--feats", type=Path, required=True, help="MFCC folder of the data")
    parser.add_argument("--out", type=Path, required=True, help="folder to make: ali/, tree and transition model")


def run(args: argparse.Namespace) -> None:
    """Align the data."""
    from asr_parallel.hmm.align import align_data
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.hmm.training_set import TrainingSet

    options, jobs = build(AlignOptions, vars(args)), build(JobOptions, vars(args)).count

    def make(folder: Path) -> None:
        lang = Lang.open(args.lang)
        data = TrainingSet.open(args.data, args.feats, lang)
        align_data(args.model, data, lang, folder, options.beam, options.boost_silence, jobs)

    run_stage(
        args.out,
        make,
        number=3,
        inputs={"model": args.model, "data": args.data, "lang": args.lang, "feats": args.feats},
        options=asdict(options),
    )
