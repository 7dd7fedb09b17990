"""Import of a Kaldi data directory: wav.scp, text, utt2spk; optionally segments, reco2file_and_channel, stm, glm.

wav.scp may only name plain audio files. A pipe is a command, and commands from data files are never run.

A set with an stm is scored against it, as in Kaldi's egs/swbd/s5c/local/score.sh; one without, against its text. An
utterance with an empty transcript is kept in a test set, where every recognised word is an insertion, but not in
training.
"""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.corpus.audio import AudioInfo, inspect_audio
from asr_parallel.corpus.datadir import CHANNELS_FILE, read_channels, read_sampling_rate, write_data
from asr_parallel.corpus.glm import check_glm
from asr_parallel.corpus.manifests import log_counts, recording, supervision
from asr_parallel.corpus.ngram import SENTENCE_END, SENTENCE_START
from asr_parallel.corpus.nist_files import channel_name, read_stm_lines, stm_channel
from asr_parallel.corpus.set_names import TRAINING_SET
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped, fit_times, write_dropped
from asr_parallel.record.files import read_lines, read_text_lines, write_lines
from asr_parallel.record.log import logger
from asr_parallel.record.stage import run_stage

if TYPE_CHECKING:
    from lhotse import SupervisionSegment

CHANNELS = {"0": 0, "1": 1, "A": 0, "B": 1}
SENTENCE_MARKS = {SENTENCE_START, SENTENCE_END}


def read_table(path: Path, expected: str = "wav.scp, text, utt2spk") -> dict[str, str]:
    """Read a file of "key value ..." lines, such as text or utt2spk; a value may be empty.

    Raises:
        ValueError: a missing file, text that is not UTF-8, or a duplicate key.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent}: no {path.name}; expected a Kaldi data directory: {expected}")
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
    """Return the transcripts without <s> and </s>, which only belong in language models; log how many had them."""
    cleaned = {
        key: " ".join(word for word in text.split() if word.lower() not in SENTENCE_MARKS)
        for key, text in texts.items()
    }
    if marked := [key for key, text in cleaned.items() if len(text.split()) != len(texts[key].split())]:
        logger.warning("%s: <s> or </s> taken out of %d transcripts, first %s", source, len(marked), marked[0])
    return cleaned


def plain_file(scp: Path, key: str, value: str) -> Path:
    """Return the file that a line of `scp` names, relative to the working directory, as in Kaldi, or to scp's folder.

    Raises:
        ValueError: a command, or a device or pipe.
    """
    command = value.endswith("|") or value.startswith("|") or value in ("", "-")
    path = Path("" if command else value)
    path = path if path.is_absolute() or path.exists() else scp.parent / path
    if command or (path.exists() and not (path.is_file() or path.is_dir())):  # a named pipe, /dev/stdin
        raise ValueError(
            f"{scp}: {key}: {value!r} is not a plain file; commands from data files are never run, so write what it"
            " gives to a file first and name that"
        )
    return path


def wav_scp_files(source: Path) -> dict[str, Path]:
    """Read `source`/wav.scp: recording -> audio file; ValueError where one is not a plain file."""
    scp = source / "wav.scp"
    return {key: plain_file(scp, key, value) for key, value in read_table(scp).items()}


def _segment(fields: list[str], seconds: float, channels: int) -> tuple[int, float, float]:
    """Return channel, start and end of a line of segments; end -1 is the end of the recording, as in Kaldi."""
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


def check_rates(source: Path, infos: Mapping[str, AudioInfo], like: Path | None = None) -> None:
    """Check that all recordings have the same sampling rate, and that of the data folder `like`, if given.

    Raises:
        ValueError: the rates differ.
    """
    counts = Counter(info.sampling_rate for info in infos.values())
    if len(counts) > 1:
        first = {info.sampling_rate: key for key, info in reversed([*infos.items()])}
        found = ", ".join(f"{rate} Hz ({counts[rate]}: {first[rate]}, ...)" for rate in sorted(counts))
        raise ValueError(
            f"{source}: recordings of {len(counts)} sampling rates: {found}; resample some, or keep those of one rate"
            " with --sampling-rate HZ (the others count for --max-bad-share)"
        )
    expected = read_sampling_rate(like) if like else None
    if expected and counts and expected not in counts:
        raise ValueError(
            f"{source}: recordings at {min(counts)} Hz, those of {like} at {expected} Hz; resample one of the two"
        )


def import_kaldi_directory(
    source: Path,
    folder: Path,
    sampling_rate: int | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    like: Path | None = None,
    keep_empty: bool = False,
) -> None:
    """Convert the Kaldi data directory `source` to the data folder `folder`.

    Recordings that are missing, unreadable, truncated, empty or of another sampling rate are left out and counted, with
    their utterances; so are utterances with bad times, without a speaker or, unless `keep_empty`, without words.

    Args:
        sampling_rate: sampling rate of the recordings to keep, Hz; None: all must have the same.
        like: a data folder whose sampling rate the recordings must have, unless `sampling_rate` is given.

    Raises:
        ValueError: no such directory, a pipe in wav.scp, a duplicate id, text that is not UTF-8, recordings of several
            sampling rates, too much left out, no words at all, an stm that is malformed or of other recordings, or a
            malformed glm.
    """
    from lhotse import RecordingSet, SupervisionSet

    sounds = wav_scp_files(source)  # checked before any file is opened: a pipe is always refused
    texts, speakers = without_sentence_marks(read_table(source / "text"), source), read_table(source / "utt2spk")
    segments = (
        read_table(source / "segments") if (source / "segments").exists() else {key: f"{key} 0 -1" for key in sounds}
    )
    names = read_channels(source)
    infos: dict[str, AudioInfo] = {}
    bad: dict[str, str] = {}
    for key, path in sounds.items():
        try:
            infos[key] = inspect_audio(path, sampling_rate)
        except ValueError as error:
            bad[key] = str(error)
    if sampling_rate is None:
        check_rates(source, infos, like)
    recordings = {key: recording(key, sounds[key], info) for key, info in infos.items()}
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
            if key not in texts:
                raise ValueError("no line in text")
            if not (texts[key] or keep_empty):
                raise ValueError("empty transcript")
            if len(speakers.get(key, "").split()) != 1:
                given = speakers.get(key)
                raise ValueError(f"utt2spk: {given!r} is not one word" if given else "no speaker in utt2spk")
        except ValueError as error:
            dropped.bad.append((key, str(error)))
            continue
        supervisions.append(supervision(key, recording_id, channel, start, end, speakers[key], texts[key]))
    dropped.check(source.name, len(supervisions), max_bad_share)
    if empty := [s.id for s in supervisions if not s.text]:
        logger.info("data set %s: %d utterances with an empty transcript, %s first", source.name, len(empty), empty[0])
    if len(empty) == len(supervisions):
        raise ValueError(f"{source / 'text'}: all {len(empty)} transcripts are empty; expected 'utterance words ...'")
    used = {s.recording_id for s in supervisions}
    for key in names.keys() & recordings.keys():
        if recordings[key].num_channels > 1:  # segments gives the channel; the first is A
            names[key] = names[key][0], channel_name(0)
    write_data(
        folder,
        RecordingSet.from_recordings(r for key, r in recordings.items() if key in used),
        SupervisionSet.from_segments(supervisions),
    )
    if renamed := sorted(names.keys() & used, key=str.encode):
        write_lines(folder / CHANNELS_FILE, (" ".join((key, *names[key])) for key in renamed))
    if (source / "stm").is_file():
        channels: dict[tuple[str, str], SupervisionSegment] = {}
        for s in supervisions:
            other = channels.setdefault(stm_channel(s.recording_id, s.channel, names), s).recording_id
            if other != s.recording_id:
                raise ValueError(
                    f"{source / CHANNELS_FILE}: {other} and {s.recording_id} have the same file and channel"
                )
        _write_stm(source / "stm", folder / "ref.stm", channels, {names.get(key, (key,))[0] for key in bad})
    if (source / "glm").is_file():
        check_glm(source / "glm")
        (folder / "glm").write_bytes((source / "glm").read_bytes())
    write_dropped(folder, [dropped])
    log_counts(source.name, len(used), supervisions)


def _write_stm(path: Path, out: Path, channels: "dict[tuple[str, str], SupervisionSegment]", bad: set[str]) -> None:
    """Copy an stm file without the segments of recordings that were left out.

    Args:
        channels: (recording, channel) as named in the stm -> one utterance of that channel.
        bad: the recordings that were left out.

    Raises:
        ValueError: a malformed line, a segment with words but no utterance in its channel, or an utterance in a channel
            without segments.
    """
    left_out, in_stm = set(), set()
    lines = read_stm_lines(path)
    if all(segment.ignored or not segment.text for _, segment in lines):
        raise ValueError(f"{path}: not one of {len(lines)} segments has words to score")
    if odd := [n for n, segment in lines if segment.text.count("(") != segment.text.count(")")]:
        logger.warning(
            "%s: parentheses that do not match in %d segments, first in line %d: expected '(optional words)'",
            *(path, len(odd), odd[0]),
        )
    for n, segment in lines:
        channel = (segment.recording, segment.channel)
        in_stm.add(channel)
        if channel in channels or not segment.text or segment.ignored:
            continue
        if segment.recording not in bad:
            raise ValueError(
                f"{path}: line {n}: no utterance is of recording {segment.recording}, channel {segment.channel}; "
                f"expected those of the data, such as {' channel '.join(next(iter(channels)))} ({CHANNELS_FILE} names "
                "the stm's recording and channel of each recording in wav.scp)"
            )
        left_out.add(n)
    if missing := [channel for channel in channels if channel not in in_stm]:
        recording_name, channel_of = missing[0]
        raise ValueError(
            f"{path}: no segment of recording {recording_name}, channel {channel_of}, of utterance "
            f"{channels[missing[0]].id}; expected 'recording channel speaker start end [<labels>] words' for each"
        )
    write_lines(out, (line for n, line in enumerate(read_lines(path), 1) if n not in left_out))


def import_kaldi(
    source: Path,
    out: Path,
    sampling_rate: int | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    like: Path | None = None,
    keep_empty: bool | None = None,
) -> None:
    """Run `import_kaldi_directory` as stage 0, into `out` (E/data/NAME).

    Args:
        keep_empty: keep utterances with an empty transcript; None: unless the folder's name is train.

    Raises:
        ValueError: see `import_kaldi_directory`.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; expected a Kaldi data directory")
    keep = out.name != TRAINING_SET if keep_empty is None else keep_empty
    sounds = wav_scp_files(source)
    # The stage depends on the audio files' contents, not on their paths in wav.scp, and not on folders such as split*
    handled = {source / "wav.scp", *sounds.values()}
    tables = [
        path for path in sorted(source.iterdir()) if path.is_file() and path.name[0] != "." and path not in handled
    ]
    run_stage(
        out,
        lambda folder: import_kaldi_directory(source, folder, sampling_rate, max_bad_share, like, keep),
        number=0,
        inputs={path.name: path for path in tables} | ({"like": like} if like else {}),
        options={"sampling_rate": sampling_rate, "max_bad_share": max_bad_share, "keep_empty": keep},
        sounds=sounds,
        places=sounds.values(),
    )
