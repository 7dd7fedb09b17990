"""Verb `import-kaldi-graph`: a graph folder from Kaldi's HCLG.fst, words.txt and final.mdl (stage 7)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--hclg", type=Path, metavar="FILE", required=True, help="HCLG.fst, such as of exp/tri4/graph")
    parser.add_argument(
        "--words", dest="symbols", type=Path, metavar="FILE", help="not given: words.txt beside the graph"
    )
    parser.add_argument("--phones", type=Path, metavar="FILE", help="not given: phones.txt beside the graph, if there")
    parser.add_argument("--model", type=Path, metavar="FILE", required=True, help="final.mdl that it was made with")
    parser.add_argument("--out", type=Path, metavar="E/graph", required=True, help="graph folder to make")


def run(args: argparse.Namespace) -> None:
    """Import the graph."""
    from asr_parallel.hmm.kaldi.import_graph import import_graph

    words = args.symbols or args.hclg.parent / "words.txt"
    phones = args.phones or args.hclg.parent / "phones.txt"
    if args.phones is not None and not phones.is_file():
        raise ValueError(f"{phones}: no such file; expected the phones of the model")
    given = {"hclg": args.hclg, "words": words, "phones": phones, "model": args.model}
    run_stage(
        args.out,
        lambda folder: import_graph(args.hclg, words, phones, args.model, folder),
        number=7,
        inputs={name: path for name, path in given.items() if path.is_file()},
        options={},
    )
