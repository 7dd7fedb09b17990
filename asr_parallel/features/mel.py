"""Kaldi's mel filters, with VTLN warping of the frequency axis (feat/mel-computations.cc)."""

import numpy as np

VTLN_LOW_HZ = 100.0  # Kaldi's MelBanksOptions: below this the warp returns to the identity
VTLN_HIGH_HZ = -500.0  # the same at the upper end, relative to the Nyquist frequency


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Return Kaldi's mel scale, natural logarithm: 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(hz / 700.0)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Return the inverse of `hz_to_mel`."""
    return 700.0 * np.expm1(mel / 1127.0)


def warp_frequency(hz: np.ndarray, warp: float, low_hz: float, high_hz: float, nyquist: float) -> np.ndarray:
    """Return frequencies warped by Kaldi's VTLN: piecewise linear, f / warp in the middle, with fixed ends.

    Args:
        hz: frequencies.
        warp: above 1 every filter moves down (a longer vocal tract), below 1 up.
        low_hz, high_hz: the ends of the filterbank; nyquist: half the sampling rate.
    """
    left = VTLN_LOW_HZ * max(1.0, warp)
    right = (VTLN_HIGH_HZ + nyquist) * min(1.0, warp)
    return np.interp(hz, [low_hz, left, right, high_hz], [low_hz, left / warp, right / warp, high_hz])


def mel_banks(
    num_bins: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, warp: float = 1.0
) -> np.ndarray:
    """Return triangular filters, (fft_length / 2 + 1, num_bins) float32; the Nyquist bin has weight 0, as in Kaldi.

    Args:
        low_hz, high_hz: the outermost edges; high_hz at or below 0 is relative to the Nyquist frequency.
        warp: VTLN warp factor, see `warp_frequency`.

    Raises:
        ValueError: edges that do not fit the sampling rate or the warp, or a filter too narrow to hold an FFT bin.
    """
    nyquist = sample_rate / 2
    high_hz = high_hz + nyquist if high_hz <= 0 else high_hz
    if not 0 <= low_hz < high_hz <= nyquist:
        raise ValueError(f"mel filters from {low_hz} to {high_hz} Hz do not fit a sampling rate of {sample_rate} Hz")
    ends = hz_to_mel(np.array([low_hz, high_hz]))
    edges = np.linspace(ends[0], ends[1], num_bins + 2)
    if warp != 1.0:
        if not low_hz < VTLN_LOW_HZ * max(1.0, warp) < (VTLN_HIGH_HZ + nyquist) * min(1.0, warp) < high_hz:
            raise ValueError(f"warp factor {warp} does not fit mel filters from {low_hz} to {high_hz} Hz")
        edges = hz_to_mel(warp_frequency(mel_to_hz(edges), warp, low_hz, high_hz, nyquist))
    mel = hz_to_mel(np.arange(fft_length // 2) * sample_rate / fft_length)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)))
    if not weights.any(axis=0).all():
        raise ValueError(f"{num_bins} mel filters are too many for an FFT of {fft_length} at {sample_rate} Hz")
    return np.vstack([weights, np.zeros(num_bins)]).astype(np.float32)
