"""Tones for speech: every phone is one, with digital silence around the words."""

from collections.abc import Sequence

import numpy as np

TONES = {"yes": (700, 2100, 5200), "no": (400, 1200)}  # Hz of a word's phones; one too high for telephones


def spoken(words: Sequence[str], rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return samples (N,) int16 of words, in any letter case."""
    t = np.arange(rate // 10) / rate
    tones = [3000 * np.sin(2 * np.pi * hz * t) for word in words for hz in TONES[word.lower()]]
    sound = np.concatenate(tones)
    return np.pad(sound + rng.normal(0, 100, len(sound)), rate // 5).astype(np.int16)
