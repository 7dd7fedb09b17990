"""Segmentation of each side of a conversation into contiguous transcribed segments, as in the MS-State transcripts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_parallel.corpus.synthetic.conversation import PlacedUtterance, SyntheticConversation
from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import Token

MARGIN = (0.12, 0.3)  # seconds of silence kept before and after speech
SMALLEST_SILENCE = 0.8  # seconds: a shorter gap between segments is divided between them
MERGE_GAP = 0.5  # seconds: sentences of one speaker with a smaller gap form one segment ...
LONGEST = 10.0  # ... of at most so many seconds
WRITTEN_PAUSE = 0.4  # seconds: a longer pause within a segment is written [silence]
SILENCE = Token("[silence]", "", "mark")

TimedToken = tuple[Token, float, float]


@dataclass(frozen=True)
class Segment:
    """A segment of one side: times in seconds, tokens with their times; `speaker` is "" in silence."""

    start: float
    end: float
    tokens: tuple[TimedToken, ...]
    speaker: str
    sex: str

    @property
    def is_silence(self) -> bool:
        """True if the segment has no tokens."""
        return not self.tokens

    def timed_words(self) -> list[TimedToken]:
        """Return the audible tokens, with [silence] in every gap, so that they cover the segment."""
        tiled: list[TimedToken] = []
        at = self.start
        for token, start, end in self.tokens:
            if token.kind == "mark":
                continue
            if start > at:
                tiled.append((SILENCE, at, start))
            tiled.append((token, max(start, at), end))
            at = end
        if self.end > at:
            tiled.append((SILENCE, at, self.end))
        return tiled

    def transcript(self) -> list[str]:
        """Return the tokens of the transcript, with [silence] for long pauses inside."""
        if self.is_silence:
            return [SILENCE.written]
        written: list[str] = []
        at = self.tokens[0][1]
        for token, start, end in self.tokens:
            if start - at > WRITTEN_PAUSE:
                written.append(SILENCE.written)
            written.append(token.written)
            at = end
        return written


def cut_into_segments(
    conversation: SyntheticConversation, side: int, rng: np.random.Generator, silences: bool
) -> list[Segment]:
    """Return the segments of a side, in order, from 0 to the end without gaps.

    Args:
        conversation: the utterances on the time line.
        side: 0 (A) or 1 (B).
        rng: random generator of the margins.
        silences: make segments of silence; False: divide every pause between its neighbours.
    """
    groups = _groups([piece for piece in conversation.said if piece.side == side])
    if not groups:
        return [Segment(0.0, conversation.seconds, (), "", "")]
    edges = _edges(groups, conversation.seconds, rng, silences)
    segments = []
    at = 0.0
    for group, (start, end) in zip(groups, edges, strict=True):
        if start > at:
            segments.append(Segment(at, start, (), "", ""))
        timed = tuple(
            (token, _on_grid(piece.start + times[0]), _on_grid(piece.start + times[1]))
            for piece in group
            for token, times in zip(piece.tokens, piece.speech.times, strict=True)
        )
        segments.append(Segment(start, end, timed, group[0].speaker.name, group[0].speaker.sex))
        at = end
    if conversation.seconds > at:
        segments.append(Segment(at, conversation.seconds, (), "", ""))
    return segments


def _on_grid(seconds: float) -> float:
    """Return the time of the nearest sample."""
    return round(seconds * RATE) / RATE


def _groups(pieces: Sequence[PlacedUtterance]) -> list[list[PlacedUtterance]]:
    """Group consecutive sentences of one speaker that are close in time."""
    groups: list[list[PlacedUtterance]] = []
    for piece in pieces:
        if (
            groups
            and piece.start - groups[-1][-1].end < MERGE_GAP
            and piece.end - groups[-1][0].start < LONGEST
            and piece.speaker == groups[-1][-1].speaker
        ):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _edges(
    groups: Sequence[Sequence[PlacedUtterance]], seconds: float, rng: np.random.Generator, silences: bool
) -> list[tuple[float, float]]:
    """Return start and end of the segment of each group."""
    edges = [[0.0, seconds] for _ in groups]
    gaps = [groups[0][0].start, *(b[0].start - a[-1].end for a, b in itertools.pairwise(groups))]
    gaps.append(seconds - groups[-1][-1].end)
    for at, gap in enumerate(gaps):
        before = groups[at - 1][-1].end if at else 0.0
        inside = 0 < at < len(groups)
        if gap >= SMALLEST_SILENCE and silences:
            margins = rng.uniform(*MARGIN, 2)
            left, right = _on_grid(before + margins[0]), _on_grid(before + gap - margins[1])
        else:
            left = right = _on_grid(before + gap / 2) if inside else (0.0 if at == 0 else seconds)
        if at:
            edges[at - 1][1] = left
        if at < len(groups):
            edges[at][0] = right
    return [(start, end) for start, end in edges]
