"""Switchboard-1 (LDC97S62) with the MS-State transcripts: its conversations as lhotse recordings and supervisions.

    AUDIO/**/sw0NNNN.sph                          two-channel mu-law, 8 kHz: A is the first channel
    TRANSCRIPTS/**/swNNNNX-ms98-a-trans.text      X is A or B: "id start end words", silence included
    conv.tab below either (optional)              the callers' PINs

Ids are Kaldi's (s5c/local/swbd1_data_prep.sh): recording sw02001, speaker sw02001-A (with conv.tab: swPIN), utterance
sw02001-A_000098-001156 (hundredths of a second).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.corpus.audio import inspect_audio
from asr_parallel.corpus.manifests import recording, supervision
from asr_parallel.corpus.transcripts import normalise
from asr_parallel.corpus.validate import Dropped, fit_times
from asr_parallel.record.files import list_files, read_lines, read_text_lines
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

SAMPLING_RATE = 8000
CHANNEL_OF_SIDE = {"A": 0, "B": 1}
AUDIO_NAME = re.compile(r"sw0?(\d{4})\.sph", re.IGNORECASE)
TRANSCRIPT_NAME = re.compile(r"sw(\d{4})([AB])-ms98-a-trans\.text", re.IGNORECASE)
SPEAKER_TABLE = "conv.tab"
REAL_CONVERSATIONS = (2435, 2438)  # the two counts found on pressings of the discs
FULL_SIZE_CONVERSATIONS = 2000  # a corpus of at least this size should be the real one
OVERLAP_TOLERANCE_SECONDS = 0.005  # half the resolution of times in utterance ids


@dataclass
class Conversation:
    """A conversation: its recording and utterances, and the sides and segments that were left out."""

    id: str
    recording: "Recording"
    supervisions: list["SupervisionSegment"] = field(default_factory=list)
    sides: int = 0
    dropped_sides: Dropped = field(default_factory=lambda: Dropped("sides"))
    dropped: Dropped = field(default_factory=Dropped)

    @property
    def speakers(self) -> set[str]:
        """The names of its speakers."""
        return {s.speaker for s in self.supervisions}


def find_files(folder: Path, pattern: re.Pattern[str], expected: str) -> dict[str, Path]:
    """Find the files below `folder` whose names match; the key is the joined groups of the match in upper case.

    Raises:
        ValueError: no such folder, no file found, or two files of the same key.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected {expected} below it")
    found: dict[str, Path] = {}
    for path in list_files(folder):
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        key = "".join(match.groups()).upper()
        if key in found:
            raise ValueError(f"{folder}: both {found[key]} and {path} are there; expected one of them")
        found[key] = path
    if not found:
        raise ValueError(f"{folder}: wrong tree: expected {expected} below it, found none")
    return found


def read_speakers(path: Path) -> dict[str, str]:
    """Read a conv.tab: side, such as "2001A" -> "swPIN". Comma separated, PINs of A and B in fields 3 and 4."""
    speakers = {}
    for line in read_lines(path):
        fields = [part.strip(' "') for part in line.split(",")]
        if len(fields) >= 4 and fields[0].isdecimal():
            for side, pin in zip("AB", fields[2:4], strict=True):
                if pin.isdecimal():
                    speakers[fields[0] + side] = f"sw{pin}"
    return speakers


def read_conversations(audio: Path, transcripts: Path) -> tuple[list[Conversation], Dropped]:
    """Read all usable conversations, in order of their numbers, and the recordings left out.

    Raises:
        ValueError: a folder is missing or has another layout.
    """
    sounds = find_files(audio, AUDIO_NAME, "sw0NNNN.sph of LDC97S62")
    texts = find_files(transcripts, TRANSCRIPT_NAME, "swNNNNA-ms98-a-trans.text of the MS-State transcripts")
    tables = sorted(path for of in (audio, transcripts) for path in list_files(of) if path.name == SPEAKER_TABLE)
    speakers = read_speakers(tables[0]) if tables else {}
    if tables:
        logger.info("speakers' names from %s", tables[0])
    if len(sounds) >= FULL_SIZE_CONVERSATIONS and len(sounds) not in REAL_CONVERSATIONS:
        logger.warning("%s: %d conversations; LDC97S62 has 2438 (some pressings 2435)", audio, len(sounds))
    conversations = []
    dropped = Dropped("recordings")
    for number in sorted({key[:4] for key in texts} - sounds.keys()):
        dropped.bad.append((f"sw0{number}", f"transcribed, but {audio} has no sw0{number}.sph"))
    for number, path in progress(sorted(sounds.items()), "reading transcripts", unit="conversations"):
        try:
            info = inspect_audio(path, SAMPLING_RATE, channels=2)
        except ValueError as error:
            dropped.bad.append((f"sw0{number}", str(error)))
            continue
        conversation = Conversation(f"sw0{number}", recording(f"sw0{number}", path, info))
        for side in CHANNEL_OF_SIDE:
            _add_side(conversation, number, side, texts, speakers)
        conversations.append(conversation)
    return conversations, dropped


def _add_side(
    conversation: Conversation, number: str, side: str, texts: Mapping[str, Path], speakers: Mapping[str, str]
) -> None:
    name = f"{conversation.id}-{side}"
    path = texts.get(number + side)
    try:
        if path is None:
            raise ValueError(f"no transcript sw{number}{side}-ms98-a-trans.text")
        lines = read_text_lines(path)
        if not any(map(str.strip, lines)):
            raise ValueError(f"{path}: empty transcript")
    except (ValueError, OSError) as error:
        conversation.dropped_sides.bad.append((name, str(error)))
        return
    conversation.sides += 1
    speaker = speakers.get(number + side, name)
    prefix = name if speaker == name else f"{speaker}-0{number}-{side}"
    last_end = 0.0
    seen: set[str] = set()
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, *fields = line.split(maxsplit=3)
        try:
            if len(fields) < 3:
                raise ValueError("expected 'id start end words', found no words")
            if key in seen:
                raise ValueError("duplicate id")
            seen.add(key)
            start, end = fit_times(_seconds(fields[0]), _seconds(fields[1]), conversation.recording.duration)
            if start < last_end - OVERLAP_TOLERANCE_SECONDS:
                raise ValueError(f"starts at {start:g} s, before the one before it ends ({last_end:g} s)")
            last_end = end
        except ValueError as error:
            conversation.dropped.bad.append((f"{path}: line {n}: {key}", str(error)))
            continue
        first, last = int(100 * start + 0.5), int(100 * end + 0.5)
        words = normalise(fields[2])
        if not words or last <= first:
            conversation.dropped.quiet.append((key, "silence only" if not words else "shorter than 10 ms"))
            continue
        conversation.supervisions.append(
            supervision(
                f"{prefix}_{first:06d}-{last:06d}",
                conversation.id,
                CHANNEL_OF_SIDE[side],
                first / 100,
                min(last / 100, conversation.recording.duration),
                speaker,
                words,
            )
        )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time in seconds") from error


def check_conversations(conversations: Iterable[Conversation], dropped: Dropped, max_bad_share: float) -> None:
    """Check the shares of bad recordings, of bad sides and of bad segments against the limit.

    Raises:
        ValueError: too many of one kind are bad, or none is usable.
    """
    conversations = list(conversations)
    sides, segments = Dropped("sides"), Dropped()
    for conversation in conversations:
        sides.bad += conversation.dropped_sides.bad
        segments.bad += conversation.dropped.bad
        segments.quiet += conversation.dropped.quiet
    dropped.check("train", len(conversations), max_bad_share)
    sides.check("train", sum(c.sides for c in conversations), max_bad_share)
    segments.check("train", sum(len(c.supervisions) for c in conversations), max_bad_share)
