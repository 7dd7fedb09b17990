"""Verb `leave-speaker-out`: data sets with one training speaker as the evaluation set (stage 0)."""

import argparse
from pathlib import Path


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--data", type=Path, metavar="E/data", required=True, help="folder with train and dev")
    parser.add_argument(
        "--speaker", required=True, help="speaker of train that becomes eval and is removed from train and dev"
    )
    parser.add_argument(
        "--out", type=Path, metavar="F/data", required=True, help="folder to write: train, dev and eval"
    )


def run(args: argparse.Namespace) -> None:
    """Write the data sets."""
    from asr_parallel.corpus.datadir import sound_files
    from asr_parallel.corpus.split import leave_speaker_out
    from asr_parallel.record.stage import run_stage

    inputs = {name: args.data / name for name in ("train", "dev")}
    run_stage(
        args.out,
        lambda folder: leave_speaker_out(args.data, args.speaker, folder),
        number=0,
        inputs=inputs,
        options={"speaker": args.speaker},
        places=[path for data in inputs.values() if data.is_dir() for path in sound_files(data).values()],
    )
