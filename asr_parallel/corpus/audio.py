"""Reading sound files: samples of a stretch of one channel, and a header check that decodes nothing.

Everything goes through libsndfile, so mu-law SPHERE files need no sph2pipe. Files compressed by `shorten`, as on some
pressings of the discs, are the one kind it cannot read.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

FULL_SCALE = 32768.0  # samples are returned in the range of 16-bit integers, the scale Kaldi computes features at
UNKNOWN_BYTES = (0, 0xFFFFFFFF)  # lengths a program writes into a wav header when it writes to a pipe


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a header says. samples: per channel; sampling_rate: Hz."""

    samples: int
    channels: int
    sampling_rate: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.samples / self.sampling_rate


def inspect_audio(path: Path, sampling_rate: int | None = None, channels: int | None = None) -> AudioInfo:
    """Read and check the header of a sound file; no sample is decoded.

    Args:
        path: a file in any format of libsndfile (wav, flac, SPHERE ...).
        sampling_rate, channels: what the file must have, when given.

    Raises:
        ValueError: missing, unreadable, compressed by shorten, without a sample, shorter than its header says,
            or not of the sampling rate or number of channels asked for.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            declared = _declared_bytes(path, head, file)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise ValueError(f"{path}: empty file; expected sound")
    try:
        found = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: not a readable sound file ({_reason(error)})") from error
    info = AudioInfo(found.frames, found.channels, found.samplerate)
    actual = path.stat().st_size
    if actual < declared:
        raise ValueError(f"{path}: truncated: {actual} bytes where its header promises {declared}")
    if info.samples <= 0:
        raise ValueError(f"{path}: holds no sample")
    if sampling_rate is not None and info.sampling_rate != sampling_rate:
        raise ValueError(f"{path}: sampled at {info.sampling_rate} Hz; expected {sampling_rate} Hz")
    if channels is not None and info.channels != channels:
        raise ValueError(f"{path}: has {info.channels} channel(s); expected {channels}")
    return info


def read_audio(path: Path, channel: int = 0, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Samples of one channel as (N,) float32 in the range of 16-bit integers, [-32768, 32768).

    Args:
        start, duration: the stretch in seconds, rounded to samples; without `duration` up to the end of the file.

    Raises:
        ValueError: the file cannot be read, has no such channel, or ends more than one sample before the stretch does.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            if not 0 <= channel < file.channels:
                raise ValueError(f"{path}: has {file.channels} channel(s); channel {channel} was asked for")
            first = round(start * file.samplerate)
            last = file.frames if duration is None else round((start + duration) * file.samplerate)
            if not 0 <= first <= last <= file.frames + 1:  # one more: times are rounded to milliseconds or less
                raise ValueError(
                    f"{path}: samples {first} to {last} were asked for; the file has {file.frames} a channel"
                )
            file.seek(first)
            samples = file.read(min(last, file.frames) - first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        if not path.is_file():
            raise ValueError(f"{path}: no such sound file") from error
        raise ValueError(f"{path}: not a readable sound file ({_reason(error)})") from error
    if len(samples) < min(last, file.frames) - first:
        raise ValueError(f"{path}: ended after {first + len(samples)} samples; its header promises {file.frames}")
    return samples[:, channel] * np.float32(FULL_SCALE)


def _reason(error: soundfile.SoundFileError) -> str:
    return str(error).rpartition(": ")[2].rstrip(".")


def _declared_bytes(path: Path, head: bytes, file: BinaryIO) -> int:
    """Bytes the whole file must have at least by its header; 0 when the format does not say."""
    if head.startswith(b"NIST_1A"):
        return _declared_by_sphere(path, head)
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _declared_by_wav(head, file)
    return 0


def _declared_by_sphere(path: Path, head: bytes) -> int:
    lines = [line.split(maxsplit=2) for line in head.decode("latin-1").splitlines()]
    fields = {line[0]: line[2] for line in lines if len(line) == 3}
    if "shorten" in fields.get("sample_coding", ""):
        raise ValueError(
            f"{path}: compressed by shorten, which is not read here; unpack it first with sph2pipe (or shorten -x)"
        )
    try:
        samples, size = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        channels, offset = int(fields["channel_count"]), int(lines[1][0])
    except (KeyError, ValueError, IndexError):
        return 0  # libsndfile says what is wrong with such a header
    per_channel = offset + samples * size * channels
    # Release 1 of the discs counts the samples of both channels together
    return per_channel if path.stat().st_size != offset + samples * size else 0


def _declared_by_wav(head: bytes, file: BinaryIO) -> int:
    order = "<" if head[:4] == b"RIFF" else ">"
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack(order + "4sI", chunk)
        if name == b"data":
            return 0 if size in UNKNOWN_BYTES else file.tell() + size
        file.seek(size + size % 2, 1)
    return 0
