"""Scoring of conversational telephone speech by the rules of NIST's Hub-5 evaluations (hubscr.pl -h hub5 -l english).

Reference segments (stm) and recognised words (ctm) are mapped by the same rules (glm.py). A word belongs to the first
segment of its channel that ends after the word's middle, and what is left over to the channel's last one. Fragments
match any word they begin or end, words in parentheses may be missing, and nothing counts in segments marked to be
ignored.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from asr_parallel.corpus.glm import MappingRules
from asr_parallel.corpus.nist_files import CtmWord, StmSegment
from asr_parallel.decode.edit_distance import AlignmentStep, Counts, align_steps, count_steps
from asr_parallel.decode.scored_words import comparable, is_scored
from asr_parallel.decode.word_network import (
    NOTHING,
    WordNetwork,
    add_alternatives,
    in_units,
    parse_transcript,
)

# The halves of eval2000, by the start of a recording's name
SUBSETS = {"swbd": "sw_", "callhome": "en_"}


@dataclass(frozen=True, slots=True)
class ScoredSegment:
    """A reference segment, its mapped text, and its alignment."""

    segment: StmSegment
    text: str
    steps: list[AlignmentStep]

    @property
    def counts(self) -> Counts:
        return count_steps(self.steps)


def scorable_words(words: Iterable[CtmWord]) -> list[CtmWord]:
    """Return the words without noises, hesitations and fragments, as they are compared."""
    return [w._replace(word=comparable(w.word)) for w in words if is_scored(w.word, hub5=True)]


def complete_channels(words: Iterable[CtmWord], segments: Iterable[StmSegment]) -> list[CtmWord]:
    """Return words sorted by recording, channel and time; a channel in which none was recognised gets an `@` (nothing).

    sclite wants every channel of the reference in the hypothesis.
    """
    words = list(words)
    there = {(w.recording, w.channel) for w in words}
    channels = dict.fromkeys((s.recording, s.channel) for s in segments)
    words += [CtmWord(*channel, 0.0, 0.0, NOTHING) for channel in channels if channel not in there]
    return sorted(words, key=lambda w: (w.recording, w.channel, w.start))


def score_segments(
    segments: Iterable[StmSegment],
    words: Iterable[CtmWord],
    reference_rules: MappingRules,
    hypothesis_rules: MappingRules,
    units: str = "word",
) -> list[ScoredSegment]:
    """Align the words, or their characters, with the segments; ignored segments are left out of the result.

    Raises:
        ValueError: words of a recording and channel that the reference does not have.
    """
    recognised: dict[tuple[str, str], list[CtmWord]] = defaultdict(list)
    for word in sorted(words, key=lambda w: w.start):
        recognised[word.recording, word.channel].append(word)
    scored = []
    in_order = sorted(segments, key=lambda s: (s.recording, s.channel, s.start))
    for channel, group in groupby(in_order, key=lambda s: (s.recording, s.channel)):
        in_channel = list(group)
        mapped = [m for word in recognised.pop(channel, []) for m in _map_word(word, hypothesis_rules)]
        for segment, own in zip(in_channel, _distribute(in_channel, mapped), strict=True):
            if not segment.ignored:
                text = reference_rules.apply(segment.text)
                networks = (in_units(network, units) for network in (parse_transcript(text), _network(own)))
                scored.append(ScoredSegment(segment, text, align_steps(*networks)))
    if recognised:
        recording, name = next(iter(recognised))
        raise ValueError(
            f"words were recognised in recording {recording}, channel {name}, which the reference does not have"
        )
    return scored


@dataclass(frozen=True, slots=True)
class MappedWord:
    """A recognised word after mapping: alternative word sequences, and the time that decides its segment."""

    alternatives: list[list[str]]
    middle: float


def _map_word(word: CtmWord, rules: MappingRules) -> list[MappedWord]:
    """Apply the rules to one word. When several words replace it, they share its duration equally.

    Times are rounded to milliseconds where a word was split, as csrfilt.sh writes them.
    """
    text = rules.apply(word.word)
    if "{" not in text:
        parts = text.split()
        if len(parts) == 1:
            return [MappedWord([parts], word.start + word.duration / 2.0)]
        times = _shares(word, len(parts))
        return [MappedWord([[part]], middle) for part, middle in zip(parts, times, strict=True)]
    alternatives = [part.split() for part in text.replace("{", " ").replace("}", " ").split("/")]
    latest = max((_shares(word, len(words))[-1] for words in alternatives if words), default=word.start)
    return [MappedWord([words or [NOTHING] for words in alternatives], latest)]


def _shares(word: CtmWord, parts: int) -> list[float]:
    """Return middles of `parts` equal pieces of a word."""
    piece = word.duration / max(parts, 1)
    return [round(word.start + piece * n, 3) + round(piece, 3) / 2.0 for n in range(parts)]


def _distribute(segments: Sequence[StmSegment], words: Sequence[MappedWord]) -> list[list[MappedWord]]:
    """Return the words of each segment of one channel; both are in order of time.

    A middle that falls on an end is compared with the end in single precision, as sclite keeps it.
    """
    shares: list[list[MappedWord]] = []
    at = 0
    for segment in segments[:-1]:
        begin, end = at, float(np.float32(segment.end))
        while at < len(words) and words[at].middle < end:
            at += 1
        shares.append(list(words[begin:at]))
    return [*shares, list(words[at:])]


def _network(words: Iterable[MappedWord]) -> WordNetwork:
    network = WordNetwork()
    for word in words:
        add_alternatives(network, word.alternatives)
    return network
