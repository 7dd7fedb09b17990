"""Verb `synthesize`: the synthetic Switchboard corpus, for recipe swbd without LDC data (stage 0)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.record.files import write_json
from asr_parallel.record.options import Checked, build, option
from asr_parallel.record.stage import run_stage


@dataclass(frozen=True)
class SynthesisOptions(Checked):
    """Corpus."""

    hours: float = option(1.5, "of transcribed training speech", above=0, metavar="H")
    eval_hours: float = option(0.25, "of the evaluation", above=0, metavar="H")
    seed: int = option(1, "of everything random", least=0)
    speech: str = option(
        "espeak", "eSpeak NG (GPL; the extra 'synth'), or tones, one for each letter, to try the recipe",
        choices=("espeak", "tones"),
    )  # fmt: skip


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return SynthesisOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus, such as exp/swbd/corpus")


def run(args: argparse.Namespace) -> None:
    """Write the corpus, unless it exists."""
    from asr_parallel.corpus.synthetic.corpus import write_corpus

    options, jobs = asdict(build(SynthesisOptions, vars(args))), build(JobOptions, vars(args)).count

    def make(folder: Path) -> None:
        write_json(folder / "synthetic.json", write_corpus(folder, jobs=jobs, **options))

    run_stage(args.out, make, number=0, inputs={}, options=options)
