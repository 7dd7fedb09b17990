"""Verb `synthesize`: the synthetic Switchboard corpus, for recipe swbd without LDC data (stage 0)."""

import argparse
from pathlib import Path

from asr_parallel.record.environment import cpu_count
from asr_parallel.record.files import write_json
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus, such as exp/swbd/corpus")
    parser.add_argument("--hours", type=float, default=1.5, help="hours of transcribed training speech (default 1.5)")
    parser.add_argument("--eval-hours", type=float, default=0.25, help="the same for the evaluation (default 0.25)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default 1)")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="number of processes; does not change the result")
    parser.add_argument(
        "--speech",
        choices=("espeak", "tones"),
        default="espeak",
        help="eSpeak NG (GPL; the extra 'synth'), or tones, one for each letter, to try the recipe (default espeak)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the corpus, unless it exists."""
    from asr_parallel.corpus.synthetic.corpus import write_corpus

    options = {"hours": args.hours, "eval_hours": args.eval_hours, "seed": args.seed, "speech": args.speech}

    def build(folder: Path) -> None:
        write_json(folder / "synthetic.json", write_corpus(folder, jobs=args.jobs, **options))

    run_stage(args.out, build, number=0, inputs={}, options=options)
