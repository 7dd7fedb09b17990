"""What a speech engine gives: samples, and when each token is heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import Token
from asr_parallel.corpus.synthetic.voices import Speaker


@dataclass(frozen=True)
class Speech:
    """Samples (float32, 8000 Hz) and a (start, end) in seconds for each token said (marks: no length)."""

    samples: np.ndarray
    times: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """Length of the whole."""
        return len(self.samples) / RATE


class Engine(Protocol):
    """Says tokens in a speaker's voice. May hold state: give it the same calls in the same order."""

    def say(self, tokens: Sequence[Token], speaker: Speaker, rng: np.random.Generator) -> Speech:
        """Speak the tokens."""
        ...


def join(pieces: Sequence[Speech]) -> Speech:
    """Join pieces one after the other."""
    times: list[tuple[float, float]] = []
    at = 0.0
    for piece in pieces:
        times += [(at + start, at + end) for start, end in piece.times]
        at += piece.seconds
    samples = np.concatenate([piece.samples for piece in pieces]) if pieces else np.zeros(0, dtype=np.float32)
    return Speech(samples, tuple(times))


def cut(piece: Speech, start: float, end: float) -> Speech:
    """Return the one-token speech between two of its times, with soft edges of 5 ms."""
    first, last = round(start * RATE), max(round(end * RATE), round(start * RATE) + 80)
    samples = piece.samples[first:last].copy()
    edge = min(40, len(samples) // 2)
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    samples[:edge] *= ramp
    samples[len(samples) - edge :] *= ramp[::-1]
    return Speech(samples, ((0.0, len(samples) / RATE),))
