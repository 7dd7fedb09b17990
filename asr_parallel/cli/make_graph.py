"""Verb `make-graph`: lang + language model + GMM system -> decoding graph (stage 7)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", type=Path, required=True, help="lang folder")
    parser.add_argument(
        "--lm", type=Path, required=True, help="language model in ARPA format, or a folder with lm.arpa"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the GMM system: tree and transition model")
    parser.add_argument("--out", type=Path, required=True, help="graph folder to make")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.hmm.graph import SELF_LOOP_SCALE, TRANSITION_SCALE, make_graph

    arpa = args.lm / "lm.arpa" if args.lm.is_dir() else args.lm
    run_stage(
        args.out,
        lambda folder: make_graph(folder, args.lang, arpa, args.model),
        number=7,
        inputs={
            "lang": args.lang,
            "lm": arpa,
            # the graph does not depend on the Gaussians
            "tree": args.model / "tree.json",
            "topology": args.model / "transitions.json",
            "transitions": args.model / "transitions.npz",
        },
        options={"transition_scale": TRANSITION_SCALE, "self_loop_scale": SELF_LOOP_SCALE},
    )
