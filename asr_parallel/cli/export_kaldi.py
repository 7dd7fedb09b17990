"""Verb `export-kaldi`: a model, its alignments, features or log-likelihoods in Kaldi's formats."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.record.options import Checked, build, option

STAGE = 7  # of decoding: what Kaldi's decoders want


@dataclass(frozen=True)
class ExportOptions(Checked):
    """Formats."""

    text: bool = option(False, "write models and alignments as text, which is larger and can be read")
    num_jobs: int = option(1, "files of alignments, ali.1.gz and so on", least=1)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (ExportOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, metavar="E/tri", help="GMM system or alignments, to be final.mdl and tree")
    what.add_argument("--feats", type=Path, metavar="E/feats/KIND/NAME", help="features, to be feats.scp and cmvn.scp")
    parser.add_argument("--lang", type=Path, metavar="E/lang", help="its phones.txt is copied beside the model")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> None:
    """Export the model or the features."""
    from asr_parallel.record.stage import run_stage

    options = build(ExportOptions, vars(args))
    inputs = {name: path for name in ("model", "feats", "lang") if (path := getattr(args, name)) is not None}
    if args.model is None:
        _refuse(args, ("lang", "text", "num_jobs"), "the features of --feats", "--model")

    def make(folder: Path) -> None:
        if args.model is not None:
            _export_model(args, options, folder)
        else:
            _export_features(args, folder)

    place = {} if args.model is not None else {"place": str(args.out.absolute())}  # feats.scp has it
    run_stage(args.out, make, number=STAGE, inputs=inputs, options=asdict(options) | place)


def _export_model(args: argparse.Namespace, options: ExportOptions, folder: Path) -> None:
    from asr_parallel.hmm.kaldi.export_system import System, export_system

    export_system(System.open(args.model), folder, args.lang, options.num_jobs, not options.text)


def _export_features(args: argparse.Namespace, folder: Path) -> None:
    from asr_parallel.features.kaldi_writer import export_features

    export_features(args.feats, folder, args.out.absolute())


def _refuse(args: argparse.Namespace, names: tuple[str, ...], to: str, other: str) -> None:
    """Raise ValueError for the first of some options that was given and is of no use."""
    for name in names:
        if getattr(args, name, None) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is of no use to {to}; expected it with {other}")
