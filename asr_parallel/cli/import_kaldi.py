"""Verb `import-kaldi`: a data folder from a Kaldi data directory (stage 0)."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.cli.shared_options import BadInputOptions
from asr_parallel.record.options import Checked, build, option


@dataclass(frozen=True)
class ImportOptions(Checked):
    """Utterances and audio."""

    empty_transcripts: str | None = option(
        None, "utterances without words: keep them, as scoring needs, or drop them, as for training",
        choices=("keep", "drop"), unset="drop in a folder named train, else keep",
    )  # fmt: skip
    sampling_rate: int | None = option(
        None,
        "sampling rate of the recordings to keep",
        least=1,
        metavar="HZ",
        unset="the common one, or that of --like",
    )

    @property
    def keep_empty(self) -> bool | None:
        """The choice to keep utterances without words; None: it depends on the set."""
        return None if self.empty_transcripts is None else self.empty_transcripts == "keep"


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ImportOptions, BadInputOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        required=True,
        help="wav.scp of plain files, text, utt2spk; optionally segments, reco2file_and_channel, stm, glm",
    )
    parser.add_argument("--out", type=Path, metavar="E/data/NAME", required=True, help="data folder to write")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="E/data/NAME",
        help="a data folder, such as the training set's, whose sampling rate these recordings must have",
    )


def run(args: argparse.Namespace) -> None:
    """Import the directory."""
    from asr_parallel.corpus.kaldi_dir import import_kaldi

    options, bad = build(ImportOptions, vars(args)), build(BadInputOptions, vars(args))
    import_kaldi(args.source, args.out, options.sampling_rate, bad.max_bad_share, args.like, options.keep_empty)
