"""Verb `results`: print the word error rates and stage times of an experiment folder, and keep them as results.md."""

import argparse
from pathlib import Path

from asr_parallel.record.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--synthetic", action="store_true", help="call the corpus synthetic (known without, normally)")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.report.results import results_markdown

    text = results_markdown(args.exp, args.synthetic)
    write_text(args.exp / "results.md", text)
    print(text, end="")
