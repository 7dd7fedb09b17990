"""Verb `make-frames`: the frame store from features and alignments (stage 4)."""

import argparse
from dataclasses import asdict
from pathlib import Path

from asr_parallel.record.options import build


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    from asr_parallel.features.frame_writer import FrameOptions

    return (FrameOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--feats", type=Path, required=True, help="feature archive of stage 2")
    parser.add_argument("--ali", type=Path, required=True, help="GMM system of stage 3 with its alignments")
    parser.add_argument("--out", type=Path, required=True, help="folder of the frame store")


def run(args: argparse.Namespace) -> None:
    """Make the frame store."""
    import numpy as np

    from asr_parallel.features.frame_writer import FrameOptions, make_frames
    from asr_parallel.hmm.alignment import AlignmentSet
    from asr_parallel.hmm.transitions import TransitionModel
    from asr_parallel.record.stage import run_stage

    options = build(FrameOptions, vars(args))

    def make(folder: Path) -> None:
        transitions = TransitionModel.open(args.ali)
        alignments = AlignmentSet.open(args.ali / "ali")
        pdf_ids = np.split(alignments.pdf_ids(transitions), alignments.offsets[1:-1])
        labels = dict(zip(alignments.ids, pdf_ids, strict=True))
        make_frames(args.feats, labels, transitions.num_pdfs, folder, options)

    run_stage(args.out, make, number=4, inputs={"feats": args.feats, "ali": args.ali}, options=asdict(options))
