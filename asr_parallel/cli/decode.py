"""Verb `decode`: features -> lattices and words (stage 7)."""

import argparse
from pathlib import Path

from asr_parallel.record.environment import cpu_count
from asr_parallel.record.stage import run_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--graph", type=Path, required=True, help="graph folder")
    parser.add_argument("--model", type=Path, required=True, help="folder of a GMM system or a network")
    parser.add_argument("--feats", type=Path, required=True, help="feature folder of the kind the model wants")
    parser.add_argument("--out", type=Path, required=True, help="decode folder to make")
    parser.add_argument("--beam", type=float, help="of the search (default: Kaldi's for the kind of model)")
    parser.add_argument("--lattice-beam", type=float, help="of what the lattice keeps (default: Kaldi's)")
    parser.add_argument("--max-active", type=int, help="tokens a frame at most (default: Kaldi's)")
    parser.add_argument("--min-active", type=int, help="tokens a frame at least, whatever the beam (default: Kaldi's)")
    parser.add_argument("--acwt", type=float, help="acoustic scale of the search (default: Kaldi's)")
    parser.add_argument("--nbest", type=int, default=0, help="different word sequences to list for each utterance")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="processes (the result does not depend on it)")


def run(args: argparse.Namespace) -> None:
    from dataclasses import asdict, replace

    from asr_parallel.decode.acoustic import default_options
    from asr_parallel.decode.decode import decode_set

    if args.jobs < 1 or args.nbest < 0:
        raise ValueError(f"expected --jobs of 1 or more and --nbest of 0 or more, got {args.jobs} and {args.nbest}")
    given = {name: getattr(args, name) for name in ("beam", "lattice_beam", "max_active", "min_active", "acwt")}
    options = replace(default_options(args.model), **{name: v for name, v in given.items() if v is not None})

    def build(folder: Path) -> None:
        decode_set(args.graph, args.model, args.feats, folder, options, args.jobs, args.nbest)

    run_stage(
        args.out,
        build,
        number=7,
        inputs={"graph": args.graph, "model": args.model, "features": args.feats},
        options=asdict(options) | {"nbest": args.nbest},
    )
