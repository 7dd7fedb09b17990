"""`asr-parallel synthesize`: stage 0 of the swbd recipe without LDC data, the synthetic Switchboard."""

import argparse
from pathlib import Path

from asr_parallel.record.environment import cpu_count
from asr_parallel.record.files import write_json
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus, such as exp/swbd/corpus")
    parser.add_argument(
        "--hours", type=float, default=1.5, help="hours of transcribed speech to train on (default 1.5)"
    )
    parser.add_argument("--eval-hours", type=float, default=0.25, help="the same for the evaluation (default 0.25)")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (default 1)")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="processes; the result does not depend on them")
    parser.add_argument(
        "--speech",
        choices=("espeak", "tones"),
        default="espeak",
        help="eSpeak NG (GPL; the extra 'synth'), or a tone a letter to try the plumbing (default espeak)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the corpus, unless it is there already."""
    from asr_parallel.corpus.synthetic.corpus import write_corpus

    options = {"hours": args.hours, "eval_hours": args.eval_hours, "seed": args.seed, "speech": args.speech}

    def build(folder: Path) -> None:
        write_json(folder / "synthetic.json", write_corpus(folder, jobs=args.jobs, **options))

    run_stage(args.out, build, number=0, inputs={}, options=options)
