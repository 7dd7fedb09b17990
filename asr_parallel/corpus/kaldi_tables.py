"""A Kaldi data directory of recordings that are one utterance each, as the programs in local/ write it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from asr_parallel.record.files import write_lines


@dataclass(frozen=True, slots=True)
class SpokenUtterance:
    """An audio file, and what is said in it by whom."""

    id: str
    audio: Path
    speaker: str
    text: str


def write_kaldi_directory(folder: Path, utterances: Iterable[SpokenUtterance]) -> None:
    """Write wav.scp, text and utt2spk, in the bytewise order of ids that Kaldi wants.

    Raises:
        ValueError: no utterance, or two with the same id.
    """
    in_order = sorted(utterances, key=lambda one: one.id.encode())
    if not in_order:
        raise ValueError(f"{folder}: no utterance to write; expected at least one")
    for before, after in pairwise(in_order):
        if before.id == after.id:
            raise ValueError(f"{folder}: two utterances are called {after.id}: {before.audio} and {after.audio}")
    write_lines(folder / "wav.scp", (f"{one.id} {one.audio.absolute()}" for one in in_order))
    write_lines(folder / "text", (f"{one.id} {one.text}" for one in in_order))
    write_lines(folder / "utt2spk", (f"{one.id} {one.speaker}" for one in in_order))
