"""Reading of audio files: samples of a segment of one channel, and a check of the header and the file's length.

Everything goes through libsndfile, so mu-law SPHERE files need no sph2pipe. SPHERE files compressed
by `shorten`, as on some pressings of the discs, are the exception: it cannot read them.
"""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_parallel.corpus.sound_length import check_length, wav_stream

FULL_SCALE = 32768.0  # samples are returned in the range of 16-bit integers, the scale Kaldi computes features at
# Largest magnitude accepted in floating-point files, whose full scale is 1: squares of larger ones overflow.
LARGEST_SAMPLE = 1e9
# Formats whose length in bytes does not show truncation: their last sample is decoded instead
VARIABLE_RATE = re.compile("FLAC|OGG|MP3|CAF ALAC")
# libsndfile's log messages for truncated MAT4, VOC and WVE files
TRUNCATED = re.compile(r"^(\*\*\* File seems to be truncated|Seems to be a truncated|Data length \d+ should be)", re.M)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The contents of an audio file's header: samples per channel, channels, and sampling rate in Hz."""

    samples: int
    channels: int
    sampling_rate: int

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sampling_rate


def inspect_audio(path: Path, sampling_rate: int | None = None, channels: int | None = None) -> AudioInfo:
    """Read and check the header of an audio file; at most its last sample is decoded.

    Args:
        path: a file in any format of libsndfile (wav, flac, SPHERE ...) that has a header.
        sampling_rate, channels: the required values; None: any.

    Raises:
        ValueError: missing, unreadable, compressed by shorten, without a sample, shorter than its header says,
            or not of the required sampling rate or number of channels.
    """
    try:
        with path.open("rb") as head:
            check_length(path, head)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if not path.stat().st_size:
        raise ValueError(f"{path}: empty file; expected sound")
    with _open(path) as file:
        info = AudioInfo(file.frames, file.channels, file.samplerate)
        if info.samples <= 0:
            raise ValueError(f"{path}: holds no sample")
        if info.samples == sys.maxsize:
            raise ValueError(f"{path}: its header does not give its length; write it to a file, not to a pipe")
        if TRUNCATED.search(file.extra_info):
            raise ValueError(f"{path}: truncated: shorter than its header promises")
        if VARIABLE_RATE.match(f"{file.format} {file.subtype}"):
            _check_last_sample(path, file)
    if sampling_rate is not None and info.sampling_rate != sampling_rate:
        raise ValueError(f"{path}: sampled at {info.sampling_rate} Hz; expected {sampling_rate} Hz")
    if channels is not None and info.channels != channels:
        raise ValueError(f"{path}: has {info.channels} channel(s); expected {channels}")
    return info


def read_audio(path: Path, channel: int = 0, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Return samples of one channel as (N,) float32 in the range of 16-bit integers, [-32768, 32768).

    Args:
        start, duration: the segment in seconds, rounded to samples; without `duration` it extends to the end of file.

    Raises:
        ValueError: the file cannot be read, has no such channel, ends more than one sample before the segment, or
            holds a sample that is not finite or absurdly large.
    """
    with _open(path) as file:
        if not 0 <= channel < file.channels:
            raise ValueError(f"{path}: has {file.channels} channel(s); channel {channel} was asked for")
        first = round(start * file.samplerate)
        last = file.frames if duration is None else round((start + duration) * file.samplerate)
        if not 0 <= first <= last <= file.frames + 1:  # one sample more: times are rounded
            raise ValueError(f"{path}: samples {first} to {last} were asked for; the file has {file.frames} a channel")
        last = min(last, file.frames)
        skipped = 0 if file.seekable() else first  # GSM and some ADPCM can only be read from the start
        if first and file.seekable():
            file.seek(first)
        samples = file.read(last - first + skipped, dtype="float32", always_2d=True)[skipped:, channel]
        if len(samples) < last - first:
            raise ValueError(f"{path}: ended after {first + len(samples)} samples; its header promises {file.frames}")
    valid = np.abs(samples) <= LARGEST_SAMPLE  # false for NaN, too
    if not valid.all():
        worst = int(np.argmin(valid))
        raise ValueError(f"{path}: sample {first + worst} is {samples[worst]:g}; expected a number from -1 to 1")
    return samples * np.float32(FULL_SCALE)


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file; turn any error into a ValueError that names the file."""
    try:
        with path.open("rb") as file:
            stream = wav_stream(file)
            source: str | int | io.BytesIO = str(path)
            if stream is not None:
                place, length = stream
                file.seek(0)
                source = io.BytesIO(file.read(place) + length + file.read()[len(length) :])
            elif path.suffix.lower() == ".raw":
                source = os.open(path, os.O_RDONLY)  # given the name, soundfile would expect a file without header
        with soundfile.SoundFile(source) as opened:
            yield opened
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except soundfile.SoundFileError as error:
        reason = "expected a header, such as wav's" if path.suffix.lower() == ".raw" else _reason(error)
        raise ValueError(f"{path}: not a readable sound file ({reason})") from error


def _check_last_sample(path: Path, file: soundfile.SoundFile) -> None:
    try:
        file.seek(file.frames - 1)
        missing = not len(file.read(1))
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: truncated or damaged: its last sample cannot be read ({_reason(error)})") from error
    if missing:
        raise ValueError(f"{path}: truncated or damaged: ends before the {file.frames} samples its header promises")


def _reason(error: soundfile.SoundFileError) -> str:
    return str(error).rpartition(": ")[2].rstrip(".")
