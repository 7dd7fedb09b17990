"""Verb `export-kaldi`: models, alignments, lang folders, features or log-likelihoods in Kaldi's formats (stage 7)."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_parallel.record.options import Checked, build, flag, option

NETWORK_FORMATS = ("nnet3", "nnet1")
OF_MODELS = ("system", "text", "num_jobs", "network_format")


@dataclass(frozen=True)
class ExportOptions(Checked):
    """Formats."""

    text: bool = option(False, "write models and alignments as text, which is larger and can be read")
    num_jobs: int = option(1, "files of alignments, ali.1.gz and so on", least=1)
    network_format: str = option("nnet3", "of a network: nnet1 has no time-delay networks", choices=NETWORK_FORMATS)


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return (ExportOptions,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", type=Path, metavar="DIR", help="GMM system, alignments or network to export")
    what.add_argument("--feats", type=Path, metavar="DIR", help="features to export, or whose log-likelihoods")
    parser.add_argument("--system", type=Path, metavar="DIR", help="a network's tree and transition model, as of E/tri")
    parser.add_argument("--lang", type=Path, metavar="DIR", help="lang folder to export, or of a model's phones.txt")
    parser.add_argument(
        "--loglikes-of", type=Path, metavar="DIR", help="a model, whose log-likelihoods for --feats are exported"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> None:
    """Export what is asked for."""
    from asr_parallel.record.stage import run_stage

    options = build(ExportOptions, vars(args))
    if args.model is not None:
        _refuse(args, ("loglikes_of",), "a model", "--feats")
    elif args.feats is not None:
        _refuse(args, ("lang", *OF_MODELS), "features", "--model")
    elif args.lang is not None:
        _refuse(args, ("loglikes_of", *OF_MODELS), "a lang folder alone", "--feats or --model")
    else:
        raise ValueError("nothing to export; expected --model, --feats or --lang")
    names = ("model", "feats", "system", "lang", "loglikes_of")
    run_stage(
        args.out,
        lambda folder: _export(args, options, folder),
        number=7,
        inputs={name: path for name in names if (path := getattr(args, name)) is not None},
        # feats.scp names its place
        options=asdict(options) | ({} if args.feats is None else {"place": str(args.out.absolute())}),
    )


def _export(args: argparse.Namespace, options: ExportOptions, folder: Path) -> None:
    from asr_parallel.hmm.kaldi.export_system import System, export_system

    if args.loglikes_of is not None:
        from asr_parallel.decode.kaldi_loglikes import export_loglikes

        export_loglikes(args.loglikes_of, args.feats, folder, args.out.absolute())
    elif args.feats is not None:
        from asr_parallel.features.kaldi_writer import export_features

        export_features(args.feats, folder, args.out.absolute())
    elif args.model is None:
        from asr_parallel.hmm.kaldi.export_lang import export_lang

        export_lang(args.lang, folder)
    else:
        from asr_parallel.nnet.kaldi.export_network import export_network, holds_network

        if holds_network(args.model):
            _refuse(args, ("num_jobs",), "a network", "a GMM system or alignments")
            if args.system is None:
                _refuse(args, ("lang",), "a network alone", "--system")
            system = None if args.system is None else System.open(args.system)
            export_network(args.model, folder, system, args.lang, options.network_format, not options.text)
        else:
            _refuse(args, ("system", "network_format"), "a GMM system or alignments", "a network")
            export_system(System.open(args.model), folder, args.lang, options.num_jobs, not options.text)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], what: str, with_what: str) -> None:
    """Raise ValueError for the first of some options that was given and is of no use."""
    for name in names:
        if getattr(args, name, None) is not None:
            raise ValueError(f"{flag(name)} is of no use to {what}; expected it with {with_what}")
