"""NIST's text formats of references and hypotheses: trn, ctm and stm.

trn   words ... (speaker-utterance)
ctm   recording channel start duration word               seconds; one word a line
stm   recording channel speaker start end [<labels>] words ...
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asr_parallel.corpus.transcripts import STM_IGNORED, check_alternatives, repair_stm_text
from asr_parallel.record.files import read_lines, write_lines

STM_LABEL = re.compile(r"<[^<>]*>(?!\S)")  # sctk takes any first word of this form as label (src/sclite/stm.c)


class CtmWord(NamedTuple):
    """A recognised word. Times in seconds from the start of the recording."""

    recording: str
    channel: str
    start: float
    duration: float
    word: str


@dataclass(frozen=True, slots=True)
class StmSegment:
    """A reference segment. Times in seconds."""

    recording: str
    channel: str
    speaker: str
    start: float
    end: float
    text: str

    @property
    def ignored(self) -> bool:
        """True if the segment is excluded from scoring, words and recognised words alike."""
        return STM_IGNORED in self.text.upper()


def channel_name(channel: int) -> str:
    """Return the name of a channel, counted from 0, in stm and ctm files: A, B, ..."""
    return chr(ord("A") + channel)


def canonical_channel(name: str) -> str:
    """Return the canonical name of a channel: A for A, a and 1, B for B, b and 2; others are unchanged."""
    if name.isdecimal() and 1 <= int(name) <= 26:
        return channel_name(int(name) - 1)
    return name.upper() if len(name) == 1 else name


def stm_channel(recording: str, channel: int, names: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return the recording and channel as stm and ctm files name them."""
    file, first = names.get(recording, (recording, channel_name(0)))
    return file, first if channel == 0 else channel_name(channel)


def write_trn(path: Path, texts: Mapping[str, str], speakers: Mapping[str, str]) -> None:
    """Write utterance id -> words as trn. sclite reads the speaker up to the first hyphen of the id."""
    write_lines(path, (f"{text} ({speakers[i].replace('-', '.')}-{i})".lstrip() for i, text in texts.items()))


def write_ctm(path: Path, words: Iterable[CtmWord]) -> None:
    """Write words in the order given."""
    write_lines(path, (f"{w.recording} {w.channel} {w.start:.3f} {w.duration:.3f} {w.word}" for w in words))


def read_ctm(path: Path) -> list[CtmWord]:
    """Read a ctm file; confidences are dropped.

    Raises:
        ValueError: a malformed line.
    """
    words = []
    for n, fields in _data_lines(path):
        try:
            recording, channel, start, duration, word, *confidence = fields
            if len(confidence) > 1:
                raise ValueError
            words.append(CtmWord(recording, canonical_channel(channel), float(start), float(duration), word))
        except ValueError as error:
            raise ValueError(f"{path}: line {n}: expected 'recording channel start duration word'") from error
    return words


def write_stm(path: Path, segments: Iterable[StmSegment]) -> None:
    """Write segments in the order given."""
    write_lines(
        path,
        (
            " ".join(f"{s.recording} {s.channel} {s.speaker} {s.start:.3f} {s.end:.3f} {s.text}".split())
            for s in segments
        ),
    )


def read_stm(path: Path) -> list[StmSegment]:
    """Read an stm file, with Kaldi's repairs for eval2000: `((` becomes `(`, <B_ASIDE> and <E_ASIDE> are removed.

    Labels are dropped: only sclite needs them, and it refuses labels that the comments of the file do not define.
    Channels get their canonical names (`canonical_channel`).

    Raises:
        ValueError: a malformed line, a segment that ends before it starts, unbalanced braces, or no segments.
    """
    return [segment for _, segment in read_stm_lines(path)]


def read_stm_lines(path: Path) -> list[tuple[int, StmSegment]]:
    """Return the segments of read_stm, each with the number of its line."""
    segments = [(n, _stm_segment(fields, f"{path}: line {n}")) for n, fields in _data_lines(path)]
    if not segments:
        raise ValueError(f"{path}: holds no segment; expected an stm file")
    return segments


def _stm_segment(fields: list[str], where: str) -> StmSegment:
    try:
        recording, channel, speaker, start, end, *words = fields
        begin, finish = float(start), float(end)
        if not math.isfinite(begin + finish) or begin < 0.0:
            raise ValueError
    except ValueError as error:
        raise ValueError(
            f"{where}: expected 'recording channel speaker start end [<labels>] words', times in seconds"
        ) from error
    if finish < begin:
        raise ValueError(f"{where}: the segment ends ({finish}) before it starts ({begin})")
    text = " ".join(words)
    label = STM_LABEL.match(text)
    text = repair_stm_text(text[label.end() :] if label else text)
    try:
        check_alternatives(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return StmSegment(recording, canonical_channel(channel), speaker, begin, finish, text)


def _data_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and fields of each line that is neither empty nor a comment."""
    for n, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if fields and not line.lstrip().startswith(";;"):
            yield n, fields
