"""Non-speech sounds: laughter, coughs and breaths, knocks and rustles."""

import numpy as np
from scipy.signal import lfilter

from asr_parallel.corpus.synthetic.speech import Speech
from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import Kind
from asr_parallel.corpus.synthetic.voices import Speaker

LOUDNESS = 0.06  # RMS, as of speech


def make_sound(kind: Kind, speaker: Speaker, rng: np.random.Generator) -> Speech:
    """Return a sound of a kind ("laughter", "vocalized" or "noise"), 0.2 to 1 s long."""
    maker = {"laughter": _laugh, "vocalized": _throat, "noise": _knocks}[kind]
    samples = maker(speaker, rng)
    samples = samples * (LOUDNESS / max(float(np.sqrt(np.mean(samples**2))), 1e-6)) * rng.uniform(0.6, 1.2)
    samples = samples.astype(np.float32)
    return Speech(samples, ((0.0, len(samples) / RATE),))


def add_laughter(speech: Speech, rng: np.random.Generator) -> Speech:
    """Return a word said while laughing: breathy, with a tremolo of 5 to 7 Hz."""
    t = np.arange(len(speech.samples)) / RATE
    tremble = 0.65 + 0.35 * np.sin(2 * np.pi * rng.uniform(5, 7) * t + rng.uniform(0, 6))
    breath = rng.standard_normal(len(t)) * np.abs(speech.samples) * 0.4
    return Speech(((speech.samples + breath) * tremble).astype(np.float32), speech.times)


def _resonance(signal: np.ndarray, hertz: float, width: float) -> np.ndarray:
    """Filter the signal by a two-pole resonator."""
    radius = np.exp(-np.pi * width / RATE)
    filtered: np.ndarray = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2], signal)
    return filtered


def _formants(signal: np.ndarray, speaker: Speaker) -> np.ndarray:
    """Filter the signal by a neutral vocal tract (500, 1500, 2500 Hz) of the speaker's length."""
    factor = speaker.formant_factor * (1.15 if speaker.sex == "F" else 1.0)
    return sum((_resonance(signal, factor * f, 120.0) for f in (500, 1500, 2500)), np.zeros(len(signal)))


def _laugh(speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return laughter: 3 to 6 breathy voiced bursts, about five a second, falling in pitch and loudness."""
    bursts = int(rng.integers(3, 7))
    period = rng.uniform(0.16, 0.24)
    out = np.zeros(round(bursts * period * RATE))
    pitch = (230 if speaker.sex == "F" else 130) * rng.uniform(0.9, 1.5)
    for burst in range(bursts):
        n = round(period * RATE * rng.uniform(0.5, 0.7))
        t = np.arange(n) / RATE
        voiced = (np.modf(t * pitch * 0.96**burst)[0] < 0.1) - 0.1
        first = round(burst * period * RATE)
        out[first : first + n] += (voiced + 0.25 * rng.standard_normal(n)) * np.hanning(n) * 0.85**burst
    return _formants(out, speaker)


def _throat(speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return a cough (sudden, decaying) or a breath (slow swell)."""
    seconds = rng.uniform(0.25, 0.7)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    if rng.random() < 0.5:
        envelope = np.exp(-t / 0.08) + 0.7 * np.exp(-np.abs(t - seconds * 0.6) / 0.05)
    else:
        envelope = np.hanning(n)
    return _formants(rng.standard_normal(n) * envelope, speaker)


def _knocks(speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return 1 to 4 knocks or clicks on the receiver, or a rustle."""
    n = round(rng.uniform(0.2, 0.8) * RATE)
    out = np.zeros(n)
    for _ in range(int(rng.integers(1, 5))):
        first = int(rng.integers(n // 2))
        t = np.arange(n - first) / RATE
        out[first:] += np.exp(-t / rng.uniform(0.01, 0.06)) * rng.standard_normal(n - first)
    return _resonance(out, rng.uniform(600, 2500), 900.0)
