"""Reading sound: scale, stretches, channels, and headers that promise what is not there."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.corpus.audio import inspect_audio, read_audio


@pytest.fixture
def stereo() -> np.ndarray:
    return np.random.default_rng(0).integers(-20000, 20000, (4000, 2)).astype(np.int16)


def test_a_stretch_of_one_channel_in_the_range_of_16_bits(tmp_path: Path, stereo: np.ndarray) -> None:
    path = tmp_path / "a $(x) b.wav"
    soundfile.write(path, stereo, 8000)
    assert inspect_audio(path, 8000, channels=2).duration == 0.5
    np.testing.assert_array_equal(read_audio(path, channel=1), stereo[:, 1])
    part = read_audio(path, channel=0, start=0.1, duration=0.25)
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, stereo[800:2800, 0])
    with pytest.raises(ValueError, match=r"has 2 channel.s.; channel 2"):
        read_audio(path, channel=2)
    with pytest.raises(ValueError, match="samples 3200 to 4800 were asked for; the file has 4000"):
        read_audio(path, start=0.4, duration=0.2)


def test_mu_law_sphere_without_sph2pipe(tmp_path: Path, stereo: np.ndarray) -> None:
    path = tmp_path / "sw02001.sph"
    soundfile.write(path, stereo, 8000, format="NIST", subtype="ULAW")
    assert inspect_audio(path).samples == 4000
    error = read_audio(path, channel=1) - stereo[:, 1]
    assert np.abs(error).max() <= 512  # half of mu-law's largest step


@pytest.mark.parametrize("name", ["a.wav", "a.sph"])
@pytest.mark.parametrize("kept", [0, 60, 1050, -1])
def test_truncated_files_are_told_by_their_headers(tmp_path: Path, stereo: np.ndarray, name: str, kept: int) -> None:
    path = tmp_path / name
    soundfile.write(path, stereo, 8000, format=None if name.endswith("wav") else "NIST")
    inspect_audio(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"truncated|empty file|not a readable sound file") as caught:
        inspect_audio(path)
    assert str(path) in str(caught.value)


def test_release_1_counts_the_samples_of_both_channels(tmp_path: Path, stereo: np.ndarray) -> None:
    path = tmp_path / "a.sph"
    soundfile.write(path, stereo, 8000, format="NIST", subtype="ULAW")
    path.write_bytes(path.read_bytes().replace(b"sample_count -i 4000", b"sample_count -i 8000"))
    assert inspect_audio(path).samples == 4000


def test_shortened_sphere_names_the_tool(tmp_path: Path, stereo: np.ndarray) -> None:
    path = tmp_path / "a.sph"
    soundfile.write(path, stereo, 8000, format="NIST", subtype="ULAW")
    data = path.read_bytes().replace(b"-s4 ulaw", b"-s26 ulaw,embedded-shorten-v2.00")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"shorten.*sph2pipe"):
        inspect_audio(path)


def test_wrong_rate_channels_or_no_sample(tmp_path: Path, stereo: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo, 16000)
    with pytest.raises(ValueError, match="sampled at 16000 Hz; expected 8000 Hz"):
        inspect_audio(path, 8000)
    with pytest.raises(ValueError, match=r"has 2 channel.s.; expected 1"):
        inspect_audio(path, 16000, channels=1)
    soundfile.write(path, stereo[:0], 8000)
    with pytest.raises(ValueError, match="holds no sample"):
        inspect_audio(path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        inspect_audio(tmp_path / "none.wav")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_audio(tmp_path / "none.wav")
