"""Verb `ctm`: word and phone times of an alignment, as CTM files and TextGrids (stage 3)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.record.options import build, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class CtmOptions:
    """Form of the times."""

    textgrids: bool = option(False, "write a Praat TextGrid for each utterance, too")


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (CtmOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ali", type=Path, required=True, help="system or alignment folder")
    parser.add_argument("--data", type=Path, required=True, help="data folder that was aligned")
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to make: words.ctm and phones.ctm")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.corpus.datadir import read_channels, read_utterances
    from asr_parallel.hmm.alignment import AlignmentSet
    from asr_parallel.hmm.ctm import write_times
    from asr_parallel.hmm.lang import Lang
    from asr_parallel.hmm.transitions import TransitionModel

    options = build(CtmOptions, vars(args))

    def make(folder: Path) -> None:
        alignments, transitions = AlignmentSet.open(args.ali / "ali"), TransitionModel.open(args.ali)
        utterances = read_utterances(args.data)
        channels = read_channels(args.data)
        write_times(folder, alignments, transitions, Lang.open(args.lang), utterances, options.textgrids, channels)

    run_stage(
        args.out,
        make,
        number=3,
        inputs={"ali": args.ali, "data": args.data, "lang": args.lang},
        options=asdict(options),
    )
