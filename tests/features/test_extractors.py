"""Features against Kaldi's formulae written out in numpy, and against Kaldi's own output where that is at hand."""

import importlib.util
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.corpus.audio import read_audio
from asr_parallel.features.extractors import BACKENDS, KINDS, num_frames, open_extractor
from asr_parallel.features.mel import mel_banks

GOLDEN = os.environ.get("ASR_PARALLEL_GOLDEN")
FSDD = os.environ.get("ASR_PARALLEL_FSDD")
INSTALLED = [b for b in BACKENDS if b != "torchaudio" or importlib.util.find_spec("torchaudio")]


def sound(seconds: float, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """A chirp with noise, loud and quiet by turns, in the 16-bit range."""
    t = np.arange(int(seconds * rate)) / rate
    chirp = np.sin(2 * np.pi * (200 * t + 300 * t**2)) * (0.55 + 0.45 * np.sin(7 * t))
    return 32768 * (0.2 * chirp + 0.01 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def warped(f: float, warp: float, low: float, high: float, nyquist: float) -> float:
    """Kaldi's VtlnWarpFreq, case by case."""
    left, right = 100.0 * max(1.0, warp), (nyquist - 500.0) * min(1.0, warp)
    if f < low or f > high:
        return f
    if f < left:
        return low + (left / warp - low) / (left - low) * (f - low)
    if f < right:
        return f / warp
    return high + (high - right / warp) / (high - right) * (f - high)


def by_the_book(x: np.ndarray, kind: str, rate: int, warp: float = 1.0) -> np.ndarray:
    """Kaldi's fbank or MFCC of samples, frame by frame, filter by filter, in float64."""
    k = KINDS[kind]
    length, shift, fft = int(0.025 * rate), int(0.01 * rate), 2 ** math.ceil(math.log2(0.025 * rate))
    n = np.arange(length)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * n / (length - 1))) ** 0.85
    nyquist = rate / 2
    low, high = k.low_freq, k.high_freq if k.high_freq > 0 else nyquist + k.high_freq
    mel = lambda f: 1127 * math.log(1 + f / 700)  # noqa: E731
    hz = lambda m: 700 * (math.exp(m / 1127) - 1)  # noqa: E731
    step = (mel(high) - mel(low)) / (k.num_mel_bins + 1)
    rows = []
    for start in range(0, len(x) - length + 1, shift):
        frame = x[start : start + length].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] * (1 - 0.97)], frame[1:] - 0.97 * frame[:-1]]) * window
        power = np.abs(np.fft.rfft(frame, fft)) ** 2
        energies = []
        for b in range(k.num_mel_bins):
            edges = [mel(warped(hz(mel(low) + (b + i) * step), warp, low, high, nyquist)) for i in range(3)]
            energy = 0.0
            for i in range(fft // 2):
                m = mel(i * rate / fft)
                if edges[0] < m < edges[2]:
                    rising = m <= edges[1]
                    weight = (
                        (m - edges[0]) / (edges[1] - edges[0]) if rising else (edges[2] - m) / (edges[2] - edges[1])
                    )
                    energy += weight * power[i]
            energies.append(math.log(max(energy, np.finfo(np.float32).eps)))
        if k.num_ceps:
            bins = np.arange(k.num_mel_bins)
            ceps = [np.cos(np.pi / k.num_mel_bins * (bins + 0.5) * c) @ energies for c in range(k.num_ceps)]
            norm = [math.sqrt((1 if c == 0 else 2) / k.num_mel_bins) for c in range(k.num_ceps)]
            energies = [
                v * s * (1 + 11 * math.sin(math.pi * c / 22)) for c, (v, s) in enumerate(zip(ceps, norm, strict=True))
            ]
        rows.append(energies)
    return np.array(rows).reshape(-1, k.dim)


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_formulae(kind: str, backend: str) -> None:
    x = sound(0.3)
    (got,) = open_extractor(kind, 8000, backend)([x])
    want = by_the_book(x, kind, 8000)
    assert got.shape == want.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-2)


@pytest.mark.parametrize("backend", [b for b in INSTALLED if b != "kaldi-native-fbank"])
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("warp", [0.85, 1.1])
def test_warped_equal_to_the_formulae(warp: float, rate: int, backend: str) -> None:
    x = sound(0.2, rate)
    (got,) = open_extractor("fbank", rate, backend, warp)([x])
    np.testing.assert_allclose(got, by_the_book(x, "fbank", rate, warp), atol=1e-2)


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_batch_is_the_same_as_one_by_one(backend: str) -> None:
    waves = [sound(s, seed=i) for i, s in enumerate((0.5, 0.0251, 0.0249, 0.0, 0.333))]
    extract = open_extractor("mfcc", 8000, backend)
    together = extract(waves)
    assert [len(m) for m in together] == [num_frames(len(w), 8000) for w in waves] == [48, 1, 0, 0, 31]
    for wave, matrix in zip(waves, together, strict=True):
        np.testing.assert_allclose(matrix, extract([wave])[0], atol=1e-3)


@pytest.mark.parametrize("backend", INSTALLED)
def test_digital_silence_is_finite(backend: str) -> None:
    (got,) = open_extractor("mfcc", 8000, backend)([np.zeros(800, dtype=np.float32)])
    assert np.isfinite(got).all()


def test_bad_requests_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match="unknown feature kind 'plp'; expected one of mfcc, fbank, mfcc_hires"):
        open_extractor("plp", 8000)
    with pytest.raises(ValueError, match="unknown feature backend 'sox'"):
        open_extractor("mfcc", 8000, "sox")
    with pytest.raises(ValueError, match="cannot warp"):
        open_extractor("mfcc", 8000, "kaldi-native-fbank", warp=1.1)
    with pytest.raises(ValueError, match="do not fit a sampling rate of 8000 Hz"):
        mel_banks(23, 256, 8000, 20.0, 5000.0)
    with pytest.raises(ValueError, match="too many for an FFT of 256"):
        mel_banks(120, 256, 8000, 20.0, 0.0)


@pytest.mark.skipif(importlib.util.find_spec("torchaudio") is not None, reason="torchaudio is installed")
def test_missing_torchaudio_names_the_extra() -> None:
    with pytest.raises(ValueError, match=r"pip install 'asr-parallel\[torchaudio\]'"):
        open_extractor("mfcc", 8000, "torchaudio")


def test_a_torchaudio_of_another_torch_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('no libcudart')\n")
    (tmp_path / "torchaudio-99.1.dist-info").mkdir()
    (tmp_path / "torchaudio-99.1.dist-info" / "METADATA").write_text("Name: torchaudio\nVersion: 99.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"torchaudio 99.1 was not built with torch .* \(no libcudart\)"):
        open_extractor("mfcc", 8000, "torchaudio")


@pytest.mark.skipif(not FSDD, reason="set ASR_PARALLEL_FSDD to compare the backends on real speech")
@pytest.mark.parametrize("kind", KINDS)
def test_backends_agree_on_real_speech(kind: str) -> None:
    recordings = sorted((Path(FSDD or "") / "recordings").glob("*.wav"))[::40]
    waves = [read_audio(path) for path in recordings]
    first, *others = (np.concatenate(open_extractor(kind, 8000, backend)(waves)) for backend in INSTALLED)
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-3, rtol=0)


@pytest.mark.skipif(not (GOLDEN and FSDD), reason="set ASR_PARALLEL_GOLDEN and ASR_PARALLEL_FSDD to compare with Kaldi")
@pytest.mark.parametrize("backend", INSTALLED)
def test_equal_to_kaldi(backend: str) -> None:
    with np.load(Path(GOLDEN or "") / "features.npz", allow_pickle=False) as golden:
        assert len(golden.files) == 9
        for key in golden.files:
            kind, recording = key.split("/")
            samples = read_audio(Path(FSDD or "") / "recordings" / f"{recording}.wav")
            (got,) = open_extractor({"fbank40": "fbank"}.get(kind, kind), 8000, backend)([samples])
            np.testing.assert_allclose(got, golden[key], atol=1e-2, rtol=0, err_msg=key)
