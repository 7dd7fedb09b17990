"""Verb `make-frames`: the frame store from features and alignments (stage 4)."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.features.frames import CONTEXT

    parser.add_argument("--feats", type=Path, required=True, help="feature archive of stage 2")
    parser.add_argument("--ali", type=Path, required=True, help="GMM system of stage 3 with its alignments")
    parser.add_argument("--out", type=Path, required=True, help="folder of the frame store")
    context = "frames on either side in a network's window (default: %(default)s)"
    parser.add_argument("--context", type=int, default=CONTEXT, metavar="N", help=context)
    parser.add_argument("--norm-vars", action="store_true", help="also normalise the variance of each speaker")


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from asr_parallel.features.frame_writer import make_frames
    from asr_parallel.hmm.alignment import AlignmentSet
    from asr_parallel.hmm.transitions import TransitionModel
    from asr_parallel.record.stage import run_stage

    def build(folder: Path) -> None:
        transitions = TransitionModel.open(args.ali)
        alignments = AlignmentSet.open(args.ali / "ali")
        pdf_ids = np.split(alignments.pdf_ids(transitions), alignments.offsets[1:-1])
        labels = dict(zip(alignments.ids, pdf_ids, strict=True))
        make_frames(args.feats, labels, transitions.num_pdfs, folder, args.norm_vars, args.context)

    run_stage(
        args.out,
        build,
        number=4,
        inputs={"feats": args.feats, "ali": args.ali},
        options={"norm_vars": args.norm_vars, "context": args.context},
    )
