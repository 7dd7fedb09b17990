"""The interface of a speech synthesiser, and its output: samples and the times of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import Token
from asr_parallel.corpus.synthetic.voices import Speaker


@dataclass(frozen=True)
class Speech:
    """Samples (float32, 8000 Hz) and (start, end) in seconds of each token (equal for marks)."""

    samples: np.ndarray
    times: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """Total duration."""
        return len(self.samples) / RATE


class Engine(Protocol):
    """A speech synthesiser. It may have state: only the same calls in the same order give the same output."""

    def say(self, tokens: Sequence[Token], speaker: Speaker, rng: np.random.Generator) -> Speech:
        """Synthesise the tokens in the voice of the speaker."""
        ...


def join(pieces: Sequence[Speech]) -> Speech:
    """Concatenate speech."""
    times: list[tuple[float, float]] = []
    at = 0.0
    for piece in pieces:
        times += [(at + start, at + end) for start, end in piece.times]
        at += piece.seconds
    samples = np.concatenate([piece.samples for piece in pieces]) if pieces else np.zeros(0, dtype=np.float32)
    return Speech(samples, tuple(times))


def cut(piece: Speech, start: float, end: float) -> Speech:
    """Cut speech of one token to start and end in seconds, faded over 5 ms at both ends."""
    first, last = round(start * RATE), max(round(end * RATE), round(start * RATE) + 80)
    samples = piece.samples[first:last].copy()
    edge = min(40, len(samples) // 2)
    ramp = np.linspace(0, 1, edge, dtype=np.float32)
    samples[:edge] *= ramp
    samples[len(samples) - edge :] *= ramp[::-1]
    return Speech(samples, ((0.0, len(samples) / RATE),))
