"""Verb `prepare-swbd`: data folders from the Switchboard discs or the synthetic corpus (stage 0 of recipe swbd)."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.record.options import Checked, build, option


@dataclass(frozen=True)
class HeldOutOptions(Checked):
    """Development set."""

    dev_utterances: int | None = option(
        None, "held out from training, in whole conversations", least=1, source="Kaldi egs/swbd/s5c/run.sh",
        unset="4000 of the full corpus, 7 % of a small one",
    )  # fmt: skip


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return HeldOutOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--audio", type=Path, metavar="DIR", required=True, help="LDC97S62: sw0NNNN.sph below it")
    parser.add_argument("--transcripts", type=Path, metavar="DIR", required=True, help="MS-State transcripts")
    parser.add_argument("--eval-audio", type=Path, metavar="DIR", required=True, help="LDC2002S09, with hub5e_00.pem")
    parser.add_argument("--eval-transcripts", type=Path, metavar="DIR", required=True, help="LDC2002T43: stm and glm")
    parser.add_argument("--out", type=Path, metavar="E/data", required=True, help="folder for train, dev and eval")


def run(args: argparse.Namespace) -> None:
    """Prepare the data."""
    from asr_parallel.corpus.prepare import prepare_swbd

    options, bad = build(HeldOutOptions, vars(args)), build(BadInputOptions, vars(args))
    trees = (args.audio, args.transcripts, args.eval_audio, args.eval_transcripts)
    prepare_swbd(*trees, args.out, options.dev_utterances, bad.max_bad_share)
