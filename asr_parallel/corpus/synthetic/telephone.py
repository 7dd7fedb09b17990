"""Simulation of telephone speech: room, background noise, handset, line.

All filters are finite impulse responses applied by FFT in float32; there is no loop over samples.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import firwin2, oaconvolve

from asr_parallel.corpus.synthetic.sphere import RATE


@dataclass(frozen=True)
class Difficulty:
    """Acoustic difficulty of the corpus. Each range is (lowest, highest); a value is drawn for each side.

    Attributes:
        snr_db: signal-to-noise ratio within the telephone band.
        callhome_snr_shift_db: added to the SNR in the `en_` half of the evaluation (CallHome is harder).
        reverberation_seconds: reverberation time (RT60).
        direct_to_reverberant_db: direct-to-reverberant ratio.
        level_db: level of the speech, relative to full scale.
        drift_db: range of the slow variation of level.
        colour_db: largest deviation of the handset's frequency response from flat.
        distortion: quadratic distortion of the microphone (as of carbon buttons).
        echo_db: level of the other side in calls with crosstalk.
        hesitation: probability of "uh", "um" or a repetition at each word.
    """

    snr_db: tuple[float, float] = (5.0, 25.0)
    callhome_snr_shift_db: float = -2.0
    reverberation_seconds: tuple[float, float] = (0.08, 0.35)
    direct_to_reverberant_db: tuple[float, float] = (6.0, 18.0)
    level_db: tuple[float, float] = (-32.0, -20.0)
    drift_db: float = 3.0
    colour_db: float = 6.0
    distortion: tuple[float, float] = (0.0, 0.6)
    echo_db: tuple[float, float] = (-45.0, -30.0)
    hesitation: float = 0.05


NOISES = ("babble", "hum", "street", "line")
ECHO_SHARE = 0.4  # share of conversations with crosstalk
LOW_HZ, HIGH_HZ = (200.0, 400.0), (3100.0, 3500.0)  # edges of the telephone band, around the nominal 300 to 3400
FILTER_TAPS = 257


def simulate_telephone(
    voices: np.ndarray, difficulty: Difficulty, rng: np.random.Generator, snr_shift_db: float = 0.0
) -> np.ndarray:
    """Return both sides of a call as received: clean voices (2, T) float32, zero outside speech -> (2, T)."""
    lines = np.stack([_one_side(voices, side, difficulty, rng, snr_shift_db) for side in (0, 1)])
    if rng.random() < ECHO_SHARE:
        gains = 10 ** (rng.uniform(*difficulty.echo_db, 2) / 20)
        delays = rng.integers(round(0.03 * RATE), round(0.15 * RATE), 2)
        echoes = np.zeros_like(lines)
        for side in (0, 1):
            echoes[side, delays[side] :] = gains[side] * lines[1 - side, : lines.shape[1] - delays[side]]
        lines = lines + echoes
    return lines


def _one_side(
    voices: np.ndarray, side: int, difficulty: Difficulty, rng: np.random.Generator, snr_shift_db: float
) -> np.ndarray:
    length = voices.shape[1]
    active = voices[side] != 0
    if not active.any():
        active[:] = True
    in_room = _convolve(voices[side], _room_response(difficulty, rng))
    noise = _background_noise(voices, rng)
    handset = _handset(difficulty, rng)
    speech, noise = (_convolve(sound, handset, FILTER_TAPS // 2) for sound in (in_room, noise))
    snr = max(rng.uniform(*difficulty.snr_db) + snr_shift_db, difficulty.snr_db[0])
    speech_level = _rms(speech[active])
    noise = noise * (speech_level / _rms(noise) * 10 ** (-snr / 20))
    line = (speech + noise) / speech_level  # speech at 1 (0 dB)
    line = line + rng.uniform(*difficulty.distortion) * 0.05 * (line**2 - np.mean(line**2))
    points = np.arange(0, length + 5 * RATE, 5 * RATE)  # the level varies over about five seconds
    drift = np.interp(np.arange(length), points, rng.uniform(-1, 1, len(points)) * difficulty.drift_db / 2)
    gain = 10 ** ((rng.uniform(*difficulty.level_db) + drift) / 20)
    out: np.ndarray = np.clip(line * gain, -1, 1).astype(np.float32)
    return out


def _rms(signal: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))), 1e-6)


def _convolve(signal: np.ndarray, response: np.ndarray, origin: int = 0) -> np.ndarray:
    """Return the filtered signal, of the same length; `origin` is the index of time zero in the response."""
    out: np.ndarray = oaconvolve(signal, response.astype(np.float32))[origin : origin + len(signal)]
    return out


def _room_response(difficulty: Difficulty, rng: np.random.Generator) -> np.ndarray:
    """Return a room impulse response: the direct sound and exponentially decaying noise."""
    decay = rng.uniform(*difficulty.reverberation_seconds)
    t = np.arange(1, round(decay * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / decay)
    tail *= 10 ** (-rng.uniform(*difficulty.direct_to_reverberant_db) / 20) / np.linalg.norm(tail)
    return np.concatenate([[1.0], tail])


def _handset(difficulty: Difficulty, rng: np.random.Generator) -> np.ndarray:
    """Return a linear-phase band-pass filter: telephone band and handset response."""
    low, high = rng.uniform(*LOW_HZ), rng.uniform(*HIGH_HZ)
    inside = np.linspace(low, high, 7)
    colour = 10 ** (rng.uniform(-1, 1, 7) * difficulty.colour_db / 20)
    hertz = [0.0, low * 0.5, *inside, min(high + 300, RATE / 2 - 50), RATE / 2]
    gains = [0.0, 0.03, *colour, 0.01, 0.0]
    taps: np.ndarray = firwin2(FILTER_TAPS, hertz, gains, fs=RATE)
    return taps


def _background_noise(voices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the background noise: mostly one kind of noise, a little of the others; RMS about 1."""
    weights = rng.dirichlet(np.full(len(NOISES), 0.4))
    makers = {"babble": _babble, "hum": _hum, "street": _street, "line": _line}
    total = np.zeros(voices.shape[1])
    for kind, weight in zip(NOISES, weights, strict=True):
        if weight > 0.02:
            noise = makers[kind](voices, rng)
            total += np.sqrt(weight) * noise / _rms(noise)
    return total


def _babble(voices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return babble: this call's speech without pauses, reversed, summed with eight random shifts."""
    spoken = voices[voices != 0][::-1]
    length = voices.shape[1]
    if len(spoken) < RATE:
        return _line(voices, rng)
    spoken = np.resize(spoken, length)
    voices_at_once = [np.roll(spoken, int(at)) for at in rng.integers(length, size=8)]
    total: np.ndarray = np.sum(voices_at_once, axis=0)
    return total


def _hum(voices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return mains hum: the harmonics of 60 Hz within the telephone band."""
    second = np.arange(RATE) / RATE  # every harmonic repeats after a second
    period = np.zeros(RATE)
    for harmonic in range(4, 20):
        period += np.sin(2 * np.pi * 60.0 * harmonic * second + rng.uniform(0, 6.28)) * rng.uniform(0, 1) / harmonic
    return np.resize(period, voices.shape[1])


def _street(voices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return traffic noise: low-pass noise whose level varies over a few seconds."""
    length = voices.shape[1]
    points = np.arange(0, length + 2 * RATE, 2 * RATE)
    swell = 10 ** (np.interp(np.arange(length), points, rng.uniform(-10, 4, len(points))) / 20)
    colour = firwin2(129, [0, 200, 600, 1500, RATE / 2], [1, 1, 0.5, 0.15, 0.05], fs=RATE)
    return _convolve(rng.standard_normal((length,), dtype=np.float32), colour) * swell


def _line(voices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return white line noise."""
    return rng.standard_normal(voices.shape[1:], dtype=np.float32)
