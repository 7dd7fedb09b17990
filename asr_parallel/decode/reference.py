"""Reference transcripts of a data set, and the scoring of hypotheses against them.

A data folder with a ref.stm is scored by the Hub-5 rules (hub5.py), any other one utterance by utterance against its
transcripts, as Kaldi's egs/swbd/s5c/local/score.sh does it. scored_words.py defines which words count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from asr_parallel.corpus.datadir import Utterance, read_channels, read_utterances
from asr_parallel.corpus.glm import GLM_KINDS, MappingRules, read_glm
from asr_parallel.corpus.nist_files import CtmWord, StmSegment, read_stm, stm_channel
from asr_parallel.decode.alignments import AlignedUtterance
from asr_parallel.decode.edit_distance import Counts, align, align_steps
from asr_parallel.decode.hub5 import complete_channels, scorable_words, score_segments
from asr_parallel.decode.scored_words import mark_unscored_optional, scored_words
from asr_parallel.decode.word_network import in_units, literal_transcript


class TimedWord(Protocol):
    """A recognised word; seconds from the start of its utterance."""

    @property
    def word(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def duration(self) -> float: ...


# utterance id -> its recognised words, in order
Hypothesis = Mapping[str, Sequence[TimedWord]]


@dataclass(frozen=True, slots=True)
class Scored:
    """An utterance, or a segment of an stm file."""

    name: str
    speaker: str
    recording: str
    counts: Counts


@dataclass(frozen=True)
class Reference:
    """Reference of a data set.

    utterances: the transcribed utterances. segments, rules: stm segments and glm file; without segments the Hub-5
        rules do not apply.
    channels: recording -> its name and that of its first channel in stm and ctm files, where they differ.
    source: its name in messages.
    Methods count `units` (word_network.UNITS): words or characters.
    """

    utterances: list[Utterance]
    segments: list[StmSegment]
    rules: Path | None
    channels: dict[str, tuple[str, str]] = field(default_factory=dict)
    source: str = "the reference"
    _cached_counts: dict[tuple[str, str, tuple[str, ...]], Counts] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, data: Path) -> "Reference":
        """Read the reference of a data folder.

        Raises:
            ValueError: not a data folder, or its ref.stm cannot be read.
        """
        segments = read_stm(data / "ref.stm") if (data / "ref.stm").is_file() else []
        segments = [replace(s, text=mark_unscored_optional(s.text)) for s in segments]
        rules = data / "glm" if (data / "glm").is_file() else None
        return cls(read_utterances(data), segments, rules, read_channels(data), str(data))

    @property
    def is_hub5(self) -> bool:
        return bool(self.segments)

    @cached_property
    def mapping(self) -> tuple[MappingRules, MappingRules]:
        """The rules for reference and hypothesis."""
        if self.rules is None:
            return MappingRules(), MappingRules()
        reference, hypothesis = (read_glm(self.rules, kinds) for kinds in GLM_KINDS)
        return reference, hypothesis

    @property
    def texts(self) -> dict[str, str]:
        """Utterance id -> the words that count."""
        return {u.id: " ".join(scored_words(u.text.split())) for u in self.utterances}

    def stm(self) -> list[StmSegment]:
        """Return the reference as stm segments: those of the data folder, else one an utterance."""
        texts = self.texts
        return self.segments or [
            StmSegment(*self._channel(u), u.speaker, u.start, u.start + u.duration, texts[u.id])
            for u in self.utterances
        ]

    def ctm(self, hypothesis: Hypothesis) -> list[CtmWord]:
        """Return the recognised words that count, with times in the recording, in the order of a ctm file."""
        words = [
            CtmWord(*self._channel(u), round(u.start + w.start, 3), round(w.duration, 3), w.word)
            for u in self.utterances
            for w in hypothesis.get(u.id, ())
        ]
        if self.is_hub5:
            return complete_channels(scorable_words(words), self.segments)
        scored = [w._replace(word=word) for w in words for word in scored_words([w.word])]
        return sorted(scored, key=lambda w: (w.recording, w.channel, w.start))

    def _channel(self, utterance: Utterance) -> tuple[str, str]:
        """Return the recording and channel of an utterance as stm and ctm files name them."""
        return stm_channel(utterance.recording_id, utterance.channel, self.channels)

    def score(self, hypothesis: Hypothesis, units: str = "word") -> list[Scored]:
        """Count the errors of every utterance, or of every segment by the Hub-5 rules.

        Raises:
            ValueError: the hypothesis names an utterance that the data folder does not have.
        """
        if self.is_hub5:
            return [Scored(a.name, a.speaker, a.recording, a.counts) for a in self.align(hypothesis, units)]
        self._check(hypothesis)
        texts = self.texts
        return [
            Scored(u.id, u.speaker, u.recording_id, self._count(texts[u.id], hypothesis.get(u.id, ()), units))
            for u in self.utterances
        ]

    def align(self, hypothesis: Hypothesis, units: str = "word") -> list[AlignedUtterance]:
        """Align every utterance, or every segment by the Hub-5 rules: what `score` counts, in its order.

        Raises:
            ValueError: the hypothesis names an utterance that the data folder does not have.
        """
        self._check(hypothesis)
        if self.is_hub5:
            scored = score_segments(self.segments, self.ctm(hypothesis), *self.mapping, units)
            return [
                AlignedUtterance(
                    f"{s.segment.speaker}-{n:04d}", s.segment.speaker, s.segment.recording, s.text, s.steps
                )
                for n, s in enumerate(scored)
            ]
        texts = self.texts
        aligned = []
        for u in self.utterances:
            networks = (
                in_units(literal_transcript(words), units)
                for words in (texts[u.id].split(), _counting(hypothesis.get(u.id, ())))
            )
            aligned.append(AlignedUtterance(u.id, u.speaker, u.recording_id, texts[u.id], align_steps(*networks)))
        return aligned

    def _check(self, hypothesis: Hypothesis) -> None:
        if unknown := hypothesis.keys() - {u.id for u in self.utterances}:
            raise ValueError(f"utterance {min(unknown)} was decoded, but is not in the data folder to score against")

    def _count(self, reference: str, words: Sequence[TimedWord], units: str) -> Counts:
        """Align one utterance. The counts are cached, as many weightings give the same words."""
        key = (units, reference, _counting(words))
        if key not in self._cached_counts:
            networks = (literal_transcript(side) for side in (reference.split(), key[2]))
            self._cached_counts[key] = align(*(in_units(network, units) for network in networks))
        return self._cached_counts[key]


def _counting(words: Sequence[TimedWord]) -> tuple[str, ...]:
    return scored_words(w.word for w in words)
