"""Verb `export-onnx`: a network as an ONNX model (stage 7)."""

import argparse
from pathlib import Path


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--model", type=Path, metavar="DIR", required=True, help="network to export")
    parser.add_argument("--system", type=Path, metavar="DIR", help="its tree and transition model, as of E/tri")
    parser.add_argument("--out", type=Path, required=True, help="folder to make, with model.onnx")


def run(args: argparse.Namespace) -> None:
    """Export the network."""
    from asr_parallel.nnet.export_onnx import export_onnx
    from asr_parallel.record.stage import run_stage

    inputs = {"model": args.model} | ({} if args.system is None else {"system": args.system})
    run_stage(
        args.out, lambda folder: export_onnx(args.model, folder, args.system), number=7, inputs=inputs, options={}
    )
