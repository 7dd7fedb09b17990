"""MFCC and fbank as in Kaldi's compute-mfcc-feats and compute-fbank-feats, by one of three backends.

Frames of 25 ms every 10 ms, snip_edges, Povey window, DC offset removed, pre-emphasis 0.97. Samples are in the range of
16-bit integers, as from `corpus.audio.read_audio` and in Kaldi; dither is added before (compute.py).
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from asr_parallel.features.mel import mel_banks
from asr_parallel.record.optional import require

FRAME_SHIFT_SECONDS = 0.01
FRAME_LENGTH_SECONDS = 0.025
# Kaldi's default (feat/feature-window.h), a standard deviation in 16-bit steps. Without it all frames of digital
# silence are the same, and the variances of their Gaussians vanish.
DITHER = 1.0
CEPSTRAL_LIFTER = 22  # Kaldi's MfccOptions

Extractor = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Function from samples of utterances, (N,) each in the 16-bit range, to features, (frames, D) float32 each."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """Settings of a kind of features. num_ceps 0: log mel filterbank energies."""

    num_ceps: int
    num_mel_bins: int
    low_freq: float
    high_freq: float  # at or below 0: relative to the Nyquist frequency

    @property
    def dim(self) -> int:
        return self.num_ceps or self.num_mel_bins


KINDS = {
    "mfcc": FeatureKind(13, 23, 20.0, 0.0),  # Switchboard s5c conf/mfcc.conf: no energy, C0 in its place
    "fbank": FeatureKind(0, 40, 20.0, 0.0),  # 40 bins, the rest Kaldi's defaults
    "mfcc_hires": FeatureKind(40, 40, 40.0, -200.0),  # Switchboard s5c conf/mfcc_hires.conf
}
BACKENDS = ("lhotse", "torchaudio", "kaldi-native-fbank")  # the first is the default; the last takes twice its time


def num_frames(num_samples: int, sample_rate: int) -> int:
    """Return the number of frames (Kaldi's snip_edges=true)."""
    length, shift = int(FRAME_LENGTH_SECONDS * sample_rate), int(FRAME_SHIFT_SECONDS * sample_rate)
    return 0 if num_samples < length else 1 + (num_samples - length) // shift


def open_extractor(kind: str, sample_rate: int, backend: str = BACKENDS[0], warp: float = 1.0) -> Extractor:
    """Return the function that computes features of a batch of utterances.

    Args:
        kind: a key of KINDS.
        sample_rate: sampling rate, Hz.
        backend: one of BACKENDS; all give the same features to about 1e-2.
        warp: VTLN warp factor (1: none), see mel.py.

    Raises:
        ValueError: unknown kind or backend, or a backend that is not installed or cannot warp.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown feature kind {kind!r}; expected one of {', '.join(KINDS)}")
    openers = {"lhotse": _lhotse, "torchaudio": _torchaudio, "kaldi-native-fbank": _native}
    if backend not in openers:
        raise ValueError(f"unknown feature backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    return openers[backend](KINDS[kind], sample_rate, warp)


def _lhotse(kind: FeatureKind, sample_rate: int, warp: float) -> Extractor:
    """Return an extractor by lhotse's torch layers, with our mel filters, which support warping."""
    import torch
    from lhotse.features.kaldi.layers import Wav2LogFilterBank, Wav2MFCC

    options: dict[str, Any] = {
        "sampling_rate": sample_rate,
        "frame_length": FRAME_LENGTH_SECONDS,
        "frame_shift": FRAME_SHIFT_SECONDS,
        "snip_edges": True,
        "low_freq": kind.low_freq,
        "high_freq": kind.high_freq,
        "num_filters": kind.num_mel_bins,
    }
    with warnings.catch_warnings():  # lhotse warns that snip_edges does not suit its data sets, which are not used here
        warnings.simplefilter("ignore")
        layer = (
            Wav2MFCC(num_ceps=kind.num_ceps, cepstral_lifter=CEPSTRAL_LIFTER, **options)
            if kind.num_ceps
            else Wav2LogFilterBank(**options)
        )
    banks = mel_banks(kind.num_mel_bins, layer.fft_length, sample_rate, kind.low_freq, kind.high_freq, warp)
    layer._fb.data = torch.from_numpy(banks)
    shift = int(FRAME_SHIFT_SECONDS * sample_rate)

    def extract(waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        # One call for the batch: utterances are concatenated, each from a multiple of the frame shift, and
        # the few frames that cross a boundary are dropped afterwards.
        slots = [-(-len(wave) // shift) for wave in waves]
        starts = np.concatenate([[0], np.cumsum(slots)])
        length = int(FRAME_LENGTH_SECONDS * sample_rate)
        line = np.zeros(starts[-1] * shift + length, dtype=np.float32)
        for start, wave in zip(starts, waves, strict=False):
            line[start * shift : start * shift + len(wave)] = wave
        with torch.inference_mode():
            frames = layer(torch.from_numpy(line)[None])[0].numpy()
        return [frames[s : s + num_frames(len(w), sample_rate)] for s, w in zip(starts, waves, strict=False)]

    return extract


def _torchaudio(kind: FeatureKind, sample_rate: int, warp: float) -> Extractor:
    """Return an extractor by torchaudio's port of Kaldi's features."""
    import torch

    try:
        kaldi = require("torchaudio.compliance.kaldi", "torchaudio", "the feature backend torchaudio")
    except OSError as error:  # torchaudio's library does not find those of torch
        raise ValueError(
            f"torchaudio {metadata.version('torchaudio')} was not built with torch {torch.__version__}, expected "
            f"releases that belong together: pip install 'asr-parallel[torchaudio]' ({error})"
        ) from error

    options: dict[str, Any] = {
        "sample_frequency": float(sample_rate),
        "frame_length": 1000 * FRAME_LENGTH_SECONDS,
        "frame_shift": 1000 * FRAME_SHIFT_SECONDS,
        "dither": 0.0,
        "num_mel_bins": kind.num_mel_bins,
        "low_freq": kind.low_freq,
        "high_freq": kind.high_freq,
        "vtln_warp": warp,
    }
    if kind.num_ceps:
        options |= {"num_ceps": kind.num_ceps, "cepstral_lifter": float(CEPSTRAL_LIFTER)}
    compute = kaldi.mfcc if kind.num_ceps else kaldi.fbank

    def extract_one(wave: np.ndarray) -> np.ndarray:
        if not num_frames(len(wave), sample_rate):  # which torchaudio refuses
            return np.empty((0, kind.dim), dtype=np.float32)
        samples = torch.from_numpy(wave.astype(np.float32))[None]
        return np.asarray(compute(samples, **options), dtype=np.float32).reshape(-1, kind.dim)

    return lambda waves: [extract_one(wave) for wave in waves]


def _native(kind: FeatureKind, sample_rate: int, warp: float) -> Extractor:
    """Return an extractor by kaldi-native-fbank: Kaldi's C++ code, one frame per call."""
    if warp != 1.0:
        raise ValueError("the feature backend kaldi-native-fbank cannot warp frequencies; use lhotse")
    import kaldi_native_fbank as knf

    options = knf.MfccOptions() if kind.num_ceps else knf.FbankOptions()
    options.frame_opts.samp_freq = sample_rate
    options.frame_opts.frame_length_ms = 1000 * FRAME_LENGTH_SECONDS
    options.frame_opts.frame_shift_ms = 1000 * FRAME_SHIFT_SECONDS
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = kind.num_mel_bins
    options.mel_opts.low_freq = kind.low_freq
    options.mel_opts.high_freq = kind.high_freq
    options.use_energy = False
    if kind.num_ceps:
        options.num_ceps = kind.num_ceps
        options.cepstral_lifter = CEPSTRAL_LIFTER
    engine = knf.OnlineMfcc if kind.num_ceps else knf.OnlineFbank

    def extract_one(wave: np.ndarray) -> np.ndarray:
        online = engine(options)
        online.accept_waveform(sample_rate, wave.astype(np.float32))
        online.input_finished()
        frames = [online.get_frame(t) for t in range(online.num_frames_ready)]
        return np.array(frames, dtype=np.float32).reshape(-1, kind.dim)

    return lambda waves: [extract_one(wave) for wave in waves]
