"""Every sound format that soundfile writes: intact ones sample by sample, damaged ones detected and named."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.corpus.audio import FULL_SCALE, inspect_audio, read_audio

RATE = 8000
EXTENSIONS = {"FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "HTK": "htk"}
UNREADABLE = {"RAW", "SD2"}  # no header; the header in a file of its own
NEITHER = {"DWVW_12", "DWVW_16", "DWVW_24", "MPEG_LAYER_I", "MPEG_LAYER_II"}  # libsndfile does not read or write them
# These give no length, or too few people use them
NOT_DETECTED = {"AVR", "IRCAM", "MAT5", "MPC2K", "PAF", "PVF", "SDS", "XI"}
WAYS = [
    (kind, subtype)
    for kind in sorted(soundfile.available_formats())
    for subtype in sorted(soundfile.available_subtypes(kind))
    if kind not in UNREADABLE and subtype not in NEITHER and (kind, subtype) != ("WAV", "MPEG_LAYER_III")
]


@pytest.fixture(scope="module")
def tone() -> np.ndarray:
    t = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 300, len(t))
    return (8000 * np.sin(2 * np.pi * 300 * t) + noise).astype(np.int16)


def write(folder: Path, kind: str, subtype: str, samples: np.ndarray) -> Path:
    path = folder / f"truncated.{EXTENSIONS.get(kind, 'sound')}"
    try:
        soundfile.write(path, samples, 44100 if kind == "XI" else RATE, format=kind, subtype=subtype)
    except soundfile.SoundFileError as error:
        pytest.skip(f"libsndfile does not write it here: {error}")
    return path


@pytest.mark.parametrize(("kind", "subtype"), WAYS)
def test_intact_files_are_read_as_libsndfile_reads_them(
    tmp_path: Path, kind: str, subtype: str, tone: np.ndarray
) -> None:
    path = write(tmp_path, kind, subtype, tone)
    info = inspect_audio(path)
    with soundfile.SoundFile(path) as file:
        want = file.read(file.frames, dtype="float32") * np.float32(FULL_SCALE)
    got = read_audio(path)
    assert len(got) == info.samples >= len(tone) and info.samples < 1.02 * len(tone)
    np.testing.assert_array_equal(got, want)
    start = 4000 / info.sampling_rate
    part = read_audio(path, start=start, duration=start)
    np.testing.assert_allclose(part, want[4000:8000], atol=1 if kind == "MP3" else 0)


@pytest.mark.parametrize("missing", [0.3, 300])
@pytest.mark.parametrize(("kind", "subtype"), [way for way in WAYS if way[0] not in NOT_DETECTED])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, subtype: str, missing: float, tone: np.ndarray) -> None:
    path = write(tmp_path, kind, subtype, tone)
    whole = path.read_bytes()
    path.write_bytes(whole[: -int(missing if missing > 1 else missing * len(whole))])
    with pytest.raises(ValueError, match=r"truncated|not a readable|holds no sample") as caught:
        inspect_audio(path)
    assert str(path) in str(caught.value)


LENGTHS = [
    (0, 0),
    (36, 0),
    (0x7FFFF024, 0x7FFFF000),
    (0x7FFFF024, 0x7FFFF024),
    (0x80000024, 0x80000000),
    (0xFFFFFFFF, 0xFFFFFFFF),
    (0xFFFFFFFF, 0xFFFFFFFF - 36),
]


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda pair: f"{pair[1]:#x}")
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "GSM610", "MS_ADPCM"])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(
    tmp_path: Path, subtype: str, lengths: tuple[int, int], tone: np.ndarray
) -> None:
    path = write(tmp_path, "WAV", subtype, tone)
    want, samples = read_audio(path), inspect_audio(path).samples
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[4:8], data[at : at + 4] = (struct.pack("<I", length) for length in lengths)
    path.write_bytes(data)
    assert inspect_audio(path).samples == samples
    np.testing.assert_array_equal(read_audio(path), want)
    np.testing.assert_array_equal(read_audio(path, start=0.5, duration=0.25), want[4000:6000])


def test_an_au_stream_is_read_to_its_end(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path, "AU", "PCM_16", tone)
    data = bytearray(path.read_bytes())
    data[8:12] = b"\xff" * 4
    path.write_bytes(data)
    assert inspect_audio(path).samples == len(tone)
    np.testing.assert_array_equal(read_audio(path), tone)


def test_a_stream_without_a_sample_has_none(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path, "WAV", "PCM_16", tone[:0])
    path.write_bytes(path.read_bytes() + b"LIST\x04\0\0\0INFO")
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", len(data) - 8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="holds no sample"):
        inspect_audio(path)


def test_a_flac_stream_of_unknown_length_is_refused(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path, "FLAC", "PCM_16", tone)
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # total samples of STREAMINFO: unknown
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not give its length"):
        inspect_audio(path)


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_a_file_damaged_in_the_middle_is_named_when_it_is_read(
    tmp_path: Path, kind: str, subtype: str, tone: np.ndarray
) -> None:
    path = write(tmp_path, kind, subtype, np.tile(tone, 10))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"truncated\.(flac|ogg): "):
        read_audio(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_sample_that_is_no_sound_is_named(tmp_path: Path, bad: float) -> None:
    samples = np.zeros((4000, 2), dtype=np.float32)
    samples[1000, 1] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert inspect_audio(tmp_path / "a.wav").samples == 4000  # no sample is looked at
    with pytest.raises(ValueError, match=r"a\.wav: sample 1000 is (nan|inf|1e\+30); expected"):
        read_audio(tmp_path / "a.wav", channel=1, start=0.1)
    assert not read_audio(tmp_path / "a.wav", channel=0).any()
    assert not read_audio(tmp_path / "a.wav", channel=1, start=0.2).any()


def test_a_raw_file_is_one_line_unless_it_has_a_header(tmp_path: Path, tone: np.ndarray) -> None:
    (tmp_path / "a.raw").write_bytes(tone.tobytes())
    for look in (inspect_audio, read_audio):
        with pytest.raises(ValueError, match=r"a\.raw: not a readable sound file"):
            look(tmp_path / "a.raw")
    soundfile.write(tmp_path / "b.wav", tone, RATE)
    (tmp_path / "b.wav").rename(tmp_path / "b.raw")
    assert inspect_audio(tmp_path / "b.raw").samples == len(tone)
    np.testing.assert_array_equal(read_audio(tmp_path / "b.raw"), tone)
