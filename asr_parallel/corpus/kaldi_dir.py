"""Import of a Kaldi data directory: wav.scp, text, utt2spk, and segments, stm and glm when there.

wav.scp may only name plain sound files. A pipe is a command, and no command from a data file is ever run.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.corpus.audio import inspect_audio
from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.manifests import log_counts, recording, supervision
from asr_parallel.corpus.ngram import SENTENCE_END, SENTENCE_START
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped, fit_times, write_dropped
from asr_parallel.record.files import read_text_lines
from asr_parallel.record.log import logger
from asr_parallel.record.stage import run_stage

if TYPE_CHECKING:
    from lhotse import Recording

CHANNELS = {"0": 0, "1": 1, "A": 0, "B": 1}
SENTENCE_MARKS = {SENTENCE_START, SENTENCE_END}
SCORING_FILES = {"stm": "ref.stm", "glm": "glm"}  # Kaldi's name -> ours


def read_table(path: Path) -> dict[str, str]:
    """A file of "key value ..." lines, such as text or utt2spk; a value may be empty.

    Raises:
        ValueError: missing, not UTF-8, or a key twice.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent}: no {path.name}; expected a Kaldi data directory: wav.scp, text, utt2spk")
    table: dict[str, str] = {}
    for n, line in enumerate(read_text_lines(path), 1):
        key, *value = line.strip().split(maxsplit=1) or [""]
        if not key:
            continue
        if key in table:
            raise ValueError(f"{path}: line {n}: duplicate id {key}")
        table[key] = value[0] if value else ""
    return table


def without_sentence_marks(texts: dict[str, str], source: Path) -> dict[str, str]:
    """Return the transcripts without <s> and </s>, which belong to language models, and say how many were there."""
    cleaned = {
        key: " ".join(word for word in text.split() if word.lower() not in SENTENCE_MARKS)
        for key, text in texts.items()
    }
    if marked := [key for key, text in cleaned.items() if len(text.split()) != len(texts[key].split())]:
        logger.warning("%s: <s> or </s> taken out of %d transcripts, first %s", source, len(marked), marked[0])
    return cleaned


def _sound_file(folder: Path, key: str, value: str) -> Path:
    """The plain file a line of wav.scp names: relative to the working directory, as in Kaldi, or to `folder`."""
    if value.endswith("|") or value.startswith("|") or value in ("", "-"):
        raise ValueError(
            f"{folder / 'wav.scp'}: {key}: {value!r} is not a plain file; commands from data files are never run, so"
            " write the sound to a file first and name that"
        )
    path = Path(value)
    return path if path.is_absolute() or path.exists() else folder / path


def _segment(fields: list[str], seconds: float, channels: int) -> tuple[int, float, float]:
    """Channel and times of a line of segments, without its ids; end -1 is the recording's, as in Kaldi."""
    if len(fields) not in (2, 3):
        raise ValueError(f"segments: expected 'utt rec start end [channel]', got {len(fields) + 2} fields")
    try:
        start, end = float(fields[0]), float(fields[1])
    except ValueError as error:
        raise ValueError(f"segments: {fields[0]!r} to {fields[1]!r} are not two times in seconds") from error
    start, end = fit_times(start, seconds if math.isclose(end, -1.0) else end, seconds)
    if len(fields) == 2 and channels > 1:
        raise ValueError(f"the recording has {channels} channels, and segments does not say which")
    channel = CHANNELS.get(fields[2], -1) if len(fields) == 3 else 0
    if not 0 <= channel < channels:
        raise ValueError(f"segments: no channel {fields[2]!r} in a recording of {channels}")
    return channel, start, end


def import_kaldi_directory(
    source: Path, folder: Path, sampling_rate: int = 8000, max_bad_share: float = MAX_BAD_SHARE
) -> None:
    """Make the data folder `folder` of the Kaldi data directory `source`.

    Left out and counted: recordings that are missing, unreadable, truncated, empty or of another sampling rate, and
    utterances of them, with bad times, without a speaker or without words.

    Raises:
        ValueError: no such directory, a pipe in wav.scp, a duplicate id, text that is not UTF-8, or too much left out.
    """
    from lhotse import RecordingSet, SupervisionSet

    sounds = {
        key: _sound_file(source, key, value) for key, value in read_table(source / "wav.scp").items()
    }  # all of it before any is opened: a pipe is refused whatever else is wrong
    texts, speakers = without_sentence_marks(read_table(source / "text"), source), read_table(source / "utt2spk")
    segments = (
        read_table(source / "segments") if (source / "segments").exists() else {key: f"{key} 0 -1" for key in sounds}
    )
    recordings: dict[str, Recording] = {}
    bad: dict[str, str] = {}
    for key, path in sounds.items():
        try:
            recordings[key] = recording(key, path, inspect_audio(path, sampling_rate))
        except ValueError as error:
            bad[key] = str(error)
    dropped, supervisions = Dropped("utterances"), []
    for key in sorted({*segments, *texts}):
        try:
            if not segments.get(key):
                raise ValueError("has a text, but no sound" if key not in segments else "segments: no recording named")
            recording_id, *fields = segments[key].split()
            found = recordings.get(recording_id)
            if found is None:
                raise ValueError(bad.get(recording_id, f"its recording {recording_id} is not in wav.scp"))
            channel, start, end = _segment(fields, found.duration, found.num_channels)
            if not texts.get(key):
                raise ValueError("no line in text" if key not in texts else "empty transcript")
            if not speakers.get(key):
                raise ValueError("no speaker in utt2spk")
        except ValueError as error:
            dropped.bad.append((key, str(error)))
            continue
        supervisions.append(supervision(key, recording_id, channel, start, end, speakers[key], texts[key]))
    dropped.check(source.name, len(supervisions), max_bad_share)
    used = {s.recording_id for s in supervisions}
    write_data(
        folder,
        RecordingSet.from_recordings(r for key, r in recordings.items() if key in used),
        SupervisionSet.from_segments(supervisions),
    )
    for theirs, ours in SCORING_FILES.items():
        if (source / theirs).is_file():
            (folder / ours).write_bytes((source / theirs).read_bytes())
    write_dropped(folder, [dropped])
    log_counts(source.name, len(used), supervisions)


def import_kaldi(source: Path, out: Path, sampling_rate: int = 8000, max_bad_share: float = MAX_BAD_SHARE) -> None:
    """`import_kaldi_directory` as stage 0, into `out` (E/data/NAME).

    Raises:
        ValueError: see `import_kaldi_directory`.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; expected a Kaldi data directory")
    run_stage(
        out,
        lambda folder: import_kaldi_directory(source, folder, sampling_rate, max_bad_share),
        number=0,
        inputs={"kaldi": source},
        options={"sampling_rate": sampling_rate, "max_bad_share": max_bad_share},
    )
