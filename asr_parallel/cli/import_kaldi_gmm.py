"""Verb `import-kaldi-gmm`: a GMM system from Kaldi's final.mdl and tree (stage 3)."""

import argparse
from pathlib import Path

from asr_parallel.record.stage import run_stage


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--system", type=Path, metavar="DIR", required=True, help="final.mdl and tree, such as exp/tri1, with deltas"
    )
    parser.add_argument("--out", type=Path, metavar="E/tri", required=True, help="folder of the system to make")


def run(args: argparse.Namespace) -> None:
    """Import the system."""
    from asr_parallel.hmm.kaldi.import_gmm import gmm_inputs, import_gmm

    run_stage(
        args.out, lambda folder: import_gmm(args.system, folder), number=3, inputs=gmm_inputs(args.system), options={}
    )
