"""A data folder: lhotse manifests of recordings and utterances, with the same as Kaldi's text files.

recordings.jsonl.gz   lhotse RecordingSet, absolute paths; audio files moved together with the folder are found
supervisions.jsonl.gz lhotse SupervisionSet: one transcribed utterance each, with speaker, channel and text
text utt2spk segments the same in Kaldi's formats, for people to read: programs read only the manifests
ref.stm  glm          for an evaluation set scored with NIST's tools
reco2file_and_channel "recording file channel": the names of a recording and its first channel in stm and ctm files
"""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from asr_parallel.corpus.nist_files import canonical_channel
from asr_parallel.record.files import read_lines, write_lines
from asr_parallel.record.stage import moved_path, original_path

if TYPE_CHECKING:
    from lhotse import RecordingSet, SupervisionSet

CHANNELS_FILE = "reco2file_and_channel"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Utterance:
    """A transcribed segment of one channel of a recording. Times in seconds."""

    id: str
    recording_id: str
    path: Path
    channel: int
    start: float
    duration: float
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording: its audio file and sampling rate, Hz."""

    id: str
    path: Path
    sampling_rate: int


def write_data(folder: Path, recordings: "RecordingSet", supervisions: "SupervisionSet") -> None:
    """Write the manifests and Kaldi's text files, sorted by id as Kaldi sorts (bytewise)."""
    from lhotse import RecordingSet, SupervisionSet

    folder.mkdir(parents=True, exist_ok=True)
    used = sorted(supervisions, key=lambda s: s.id.encode())
    by_id = sorted(recordings, key=lambda r: r.id.encode())
    _write_manifest(folder / "recordings.jsonl.gz", RecordingSet.from_recordings(by_id))
    _write_manifest(folder / "supervisions.jsonl.gz", SupervisionSet.from_segments(used))
    write_lines(folder / "text", (f"{s.id} {s.text}" for s in used))
    write_lines(folder / "utt2spk", (f"{s.id} {s.speaker}" for s in used))
    write_lines(folder / "segments", (f"{s.id} {s.recording_id} {s.start:.3f} {s.end:.3f}" for s in used))


def read_utterances(folder: Path) -> list[Utterance]:
    """Return the utterances of a data folder, sorted by id.

    Raises:
        ValueError: not a data folder, a damaged one, one without utterances, or an utterance of an unknown recording.
    """
    for name in ("recordings.jsonl.gz", "supervisions.jsonl.gz"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}; expected a data folder made by stage 0")
    paths = sound_files(folder)

    def utterance(one: dict[str, Any]) -> Utterance:
        recording, channel = one["recording_id"], one["channel"]
        return Utterance(
            one["id"], recording, paths.get(recording, folder), channel if isinstance(channel, int) else channel[0],
            float(one["start"]), float(one["duration"]), one["speaker"], one.get("text") or "",
        )  # fmt: skip

    utterances = read_manifest(folder / "supervisions.jsonl.gz", utterance)
    if not paths or not utterances:
        raise ValueError(f"{folder}: holds no utterance")
    for one in utterances:
        if one.recording_id not in paths:
            raise ValueError(f"{folder}: utterance {one.id} names the unknown recording {one.recording_id}")
    return sorted(utterances, key=lambda u: u.id.encode())


def read_recordings(folder: Path) -> list[Sound]:
    """Return the recordings of a data folder, with the current paths of their audio files.

    Raises:
        ValueError: not a data folder, or a damaged one.
    """
    path = folder / "recordings.jsonl.gz"
    if not path.is_file():
        raise ValueError(f"{folder}: no {path.name}; expected a data folder made by stage 0")
    was = original_path(folder)

    def sound(one: dict[str, Any]) -> Sound:
        return Sound(one["id"], moved_path(one["sources"][0]["source"], was, folder), int(one["sampling_rate"]))

    return read_manifest(path, sound)


def sound_files(folder: Path) -> dict[str, Path]:
    """Return recording id -> audio file of a data folder; ValueError as for read_recordings."""
    return {recording.id: recording.path for recording in read_recordings(folder)}


def read_sampling_rate(folder: Path) -> int:
    """Return the sampling rate of the first recording of a data folder, Hz.

    Raises:
        ValueError: not a data folder, or one without recordings.
    """
    recordings = read_recordings(folder)
    if not recordings:
        raise ValueError(f"{folder}: holds no recording")
    return recordings[0].sampling_rate


def read_channels(folder: Path) -> dict[str, tuple[str, str]]:
    """Read Kaldi's reco2file_and_channel of a folder: recording -> (file, channel); empty if there is no such file.

    Raises:
        ValueError: a malformed line, or a duplicate recording.
    """
    path = folder / CHANNELS_FILE
    channels: dict[str, tuple[str, str]] = {}
    for n, line in enumerate(read_lines(path) if path.is_file() else (), 1):
        fields = line.split()
        if fields and (len(fields) != 3 or fields[0] in channels):
            problem = f"a second line of {fields[0]}" if fields[0] in channels else repr(line)
            raise ValueError(f"{path}: line {n}: expected 'recording file channel', each recording once; got {problem}")
        if fields:
            channels[fields[0]] = fields[1], canonical_channel(fields[2])
    return channels


def _write_manifest(path: Path, manifest: Any) -> None:
    """Write a lhotse manifest as UTF-8: lhotse's own `to_file` uses the encoding of the locale."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in manifest.to_dicts())


def read_manifest(path: Path, item: Callable[[dict[str, Any]], T]) -> list[T]:
    """Return what `item` makes of each object of a manifest. It is read completely, so that damage is noticed.

    lhotse's own reader is left to those who need its objects: importing lhotse imports torch.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [item(json.loads(line)) for line in file]
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error}); run stage 0 again") from error
