"""Hub5 2000 evaluation set, English (audio LDC2002S09, reference LDC2002T43), as Kaldi's s5c prepares it.

    AUDIO/**/{sw,en}_NNNN.sph     two-channel mu-law, 8 kHz
    AUDIO/**/hub5e_00.pem         partition: file side who start end
    REFERENCE/**/hub5e00.english.000405.stm, en20000405_hub5.glm

Utterances are those of the STM, which must be those of the PEM (local/eval2000_data_prep.sh): id
en_4156-A_030185-030248, hundredths of a second, truncated. A second person on a side (`..._A1` in the STM) stays with
that side, as in Kaldi: the same channel, speaker en_4156-A.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.corpus.audio import inspect_audio
from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.glm import check_glm
from asr_parallel.corpus.manifests import log_counts, recording, supervision
from asr_parallel.corpus.swbd import CHANNEL_OF_SIDE, SAMPLING_RATE, find_files
from asr_parallel.corpus.transcripts import STM_IGNORED, check_alternatives, plain_stm_text, repair_stm_text
from asr_parallel.corpus.validate import Dropped, fit_times, write_dropped
from asr_parallel.record.files import list_files, read_lines, write_lines
from asr_parallel.record.log import logger

if TYPE_CHECKING:
    from lhotse import Recording

AUDIO_NAME = re.compile(r"((?:sw|en)_\d{4})\.sph", re.IGNORECASE)
STM_NAME = "hub5e00.english.000405.stm"
GLM_NAME = "en20000405_hub5.glm"
WIDEN_SECONDS = 0.1  # at both ends of a segment, as in Kaldi: the reference is cut tightly
REAL_FILES, REAL_UTTERANCES = 40, 4459
STM_GAP = "inter_segment_gap"  # speaker name of the segments that are in the STM but not in the PEM
STM_LABEL = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Eval2000Segment:
    """A segment of the STM; `line` is its repaired line for ref.stm. A gap is no utterance and not in the PEM."""

    id: str
    file: str
    side: str
    start: float
    end: float
    text: str
    line: str
    is_gap: bool


def utterance_id(file: str, side: str, start: str, end: str) -> str:
    """Return Kaldi's utterance id. Times are decimal text, because 100 x 301.85 is 30184.999... in floating point.

    Raises:
        ValueError: a time is not a number.
    """
    try:
        hundredths = [int(Decimal(time) * 100) for time in (start, end)]
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ValueError(f"{start!r} to {end!r} are not two times in seconds") from error
    return f"{file}-{side}_{hundredths[0]:06d}-{hundredths[1]:06d}"


def read_eval2000_stm(path: Path) -> tuple[list[str], list[Eval2000Segment]]:
    """Read the comments and segments of an STM, and repair what NIST's scorer cannot read.

    Raises:
        ValueError: a malformed line, unbalanced braces, or a duplicate id.
    """
    comments: list[str] = []
    segments = []
    for n, fields, line in _records(path, comments):
        if len(fields) < 5 or fields[1][0] not in CHANNEL_OF_SIDE:
            raise ValueError(f"{path}: line {n}: expected 'file A|B speaker start end <labels> words', got {line!r}")
        file, side, speaker, start, end = fields[:5]
        words = line.split(maxsplit=5)[5] if len(fields) > 5 else ""
        label = STM_LABEL.match(words)
        text = repair_stm_text(words[label.end() :] if label else words)
        parts = (file, side, speaker, start, end, label.group() if label else "", text)
        try:
            check_alternatives(text)
            key = utterance_id(file, side[0], start, end)
        except ValueError as error:
            raise ValueError(f"{path}: line {n}: {error}") from error
        repaired = " ".join(part for part in parts if part)
        segments.append(
            Eval2000Segment(key, file, side[0], float(start), float(end), text, repaired, speaker == STM_GAP)
        )
    _refuse_repeats(path, [segment.id for segment in segments if not segment.is_gap])
    return comments, segments


def read_pem(path: Path) -> list[str]:
    """Read the utterance ids of a partition file (PEM).

    Raises:
        ValueError: a malformed line or a duplicate id.
    """
    ids = []
    for n, fields, line in _records(path, []):
        if len(fields) != 5 or fields[1][0] not in CHANNEL_OF_SIDE:
            raise ValueError(f"{path}: line {n}: expected 'file A|B speaker start end', got {line!r}")
        ids.append(utterance_id(fields[0], fields[1][0], fields[3], fields[4]))
    _refuse_repeats(path, ids)
    return ids


def _records(path: Path, comments: list[str]) -> Iterator[tuple[int, list[str], str]]:
    """Yield number, fields and text of each line; comments (";;") are appended to `comments` instead."""
    for n, line in enumerate(read_lines(path), 1):
        if line.startswith(";;"):
            comments.append(line)
        elif line.strip():
            yield n, line.split(), line.strip()


def _refuse_repeats(path: Path, ids: list[str]) -> None:
    seen: set[str] = set()
    for key in ids:
        if key in seen:
            raise ValueError(f"{path}: duplicate utterance id {key}")
        seen.add(key)


def _find_reference(folder: Path, name: str, suffix: str) -> Path:
    """Return the first file of the released name below the folder, else the first with the suffix."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected {name} below it")
    there = list_files(folder)
    named = [path for path in there if path.name == name] or [path for path in there if path.name.endswith(suffix)]
    if not named:
        raise ValueError(f"{folder}: wrong tree: expected {name} below it, found none")
    return named[0]


def prepare_eval2000(folder: Path, audio: Path, reference: Path, max_bad_share: float) -> None:
    """Write the data folder of the evaluation set, with ref.stm and glm.

    ref.stm has the lines of all recordings found, scored or not. A segment that is not scored is not an utterance.

    Raises:
        ValueError: a wrong tree, STM and PEM that differ, or too much bad audio or too many bad segments.
    """
    from lhotse import RecordingSet, SupervisionSet

    sounds = find_files(audio, AUDIO_NAME, "en_NNNN.sph and sw_NNNN.sph of LDC2002S09")
    pem = _find_reference(audio, "hub5e_00.pem", ".pem")
    stm = _find_reference(reference, STM_NAME, ".stm")
    glm = _find_reference(reference, GLM_NAME, ".glm")
    check_glm(glm)
    comments, segments = read_eval2000_stm(stm)
    differing = {segment.id for segment in segments if not segment.is_gap} ^ set(read_pem(pem))
    if differing:
        raise ValueError(
            f"{stm} and {pem} do not hold the same segments: {len(differing)} differ, {min(differing)} first"
        )

    recordings: dict[str, Recording] = {}
    bad_recordings = Dropped("recordings")
    for file in sorted({segment.file for segment in segments}):
        path = sounds.get(file.upper())
        try:
            if path is None:
                raise ValueError(f"in {stm.name}, but {audio} has no {file}.sph")
            recordings[file] = recording(file, path, inspect_audio(path, SAMPLING_RATE, channels=2))
        except ValueError as error:
            bad_recordings.bad.append((file, str(error)))
    bad_recordings.check("eval", len(recordings), max_bad_share)

    dropped, stm_lines, supervisions = Dropped(), comments, []
    for segment in segments:
        found = recordings.get(segment.file)
        if found is None:
            continue
        if segment.is_gap:
            stm_lines.append(segment.line)
            continue
        try:
            start, end = fit_times(segment.start, segment.end, found.duration)
        except ValueError as error:
            dropped.bad.append((segment.id, str(error)))
            continue
        stm_lines.append(segment.line)
        if STM_IGNORED in segment.text.upper():
            dropped.quiet.append((segment.id, "not scored"))
            continue
        start, end = max(0.0, start - WIDEN_SECONDS), min(end + WIDEN_SECONDS, found.duration)
        supervisions.append(
            supervision(
                segment.id,
                segment.file,
                CHANNEL_OF_SIDE[segment.side],
                round(start, 3),
                end,
                f"{segment.file}-{segment.side}",
                plain_stm_text(segment.text),
            )
        )
    dropped.check("eval", len(supervisions), max_bad_share)
    if len(sounds) >= REAL_FILES and (len(recordings), len(supervisions)) != (REAL_FILES, REAL_UTTERANCES):
        logger.warning(
            "eval: %d files with %d utterances; the released set has %d and %d",
            len(recordings), len(supervisions), REAL_FILES, REAL_UTTERANCES,
        )  # fmt: skip
    write_data(folder, RecordingSet.from_recordings(recordings.values()), SupervisionSet.from_segments(supervisions))
    write_lines(folder / "ref.stm", stm_lines)
    (folder / "glm").write_bytes(glm.read_bytes())
    write_dropped(folder, [bad_recordings, dropped])
    log_counts("eval", len(recordings), supervisions)
