"""Verb `results`: print the word error rates and stage times of an experiment folder, and keep them as results.md."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.record.files import write_text
from asr_parallel.record.options import build, option


@dataclass(frozen=True)
class ResultOptions:
    """Table."""

    synthetic: bool = option(False, "call the corpus synthetic (known without, normally)")


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (ResultOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.report.results import results_markdown

    text = results_markdown(args.exp, build(ResultOptions, vars(args)).synthetic)
    write_text(args.exp / "results.md", text)
    print(text, end="")
