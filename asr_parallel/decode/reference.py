"""The truth that hypotheses of a data set are scored against, and how.

A data folder with a ref.stm is scored by the Hub-5 rules (hub5.py), any other one utterance by utterance against its
transcripts, without noises, as Kaldi's local/score_basic.sh does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from asr_parallel.corpus import transcripts
from asr_parallel.corpus.datadir import Utterance, read_utterances
from asr_parallel.corpus.nist_files import CtmWord, StmSegment, channel_name, read_stm
from asr_parallel.decode.alignments import Aligned
from asr_parallel.decode.edit_distance import Counts, align, align_steps
from asr_parallel.decode.glm import MappingRules, read_glm
from asr_parallel.decode.hub5 import complete_channels, scorable_words, score_segments
from asr_parallel.decode.word_network import literal_transcript

NOISES = transcripts.NOISES | {transcripts.SILENCE}


class TimedWord(Protocol):
    """A recognised word; seconds from the start of its utterance."""

    @property
    def word(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def duration(self) -> float: ...


# utterance id -> what was recognised in it, in order
Hypothesis = Mapping[str, Sequence[TimedWord]]


@dataclass(frozen=True, slots=True)
class Scored:
    """One utterance, or one segment of an stm file."""

    name: str
    speaker: str
    recording: str
    counts: Counts


@dataclass(frozen=True)
class Reference:
    """utterances: what was to be recognised. segments, rules: of the Hub-5 rules; no segments, no Hub-5."""

    utterances: list[Utterance]
    segments: list[StmSegment]
    rules: Path | None
    _known: dict[tuple[str, tuple[str, ...]], Counts] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, data: Path) -> "Reference":
        """Take the truth from a data folder.

        Raises:
            ValueError: not a data folder, or its ref.stm cannot be read.
        """
        segments = read_stm(data / "ref.stm") if (data / "ref.stm").is_file() else []
        return cls(read_utterances(data), segments, data / "glm" if (data / "glm").is_file() else None)

    @property
    def is_hub5(self) -> bool:
        return bool(self.segments)

    @cached_property
    def mapping(self) -> tuple[MappingRules, MappingRules]:
        """The rules for reference and hypothesis."""
        if self.rules is None:
            return MappingRules(), MappingRules()
        return read_glm(self.rules, ("stm", "ref")), read_glm(self.rules, ("ctm", "hyp"))

    @property
    def texts(self) -> dict[str, str]:
        """Utterance id -> the words that count."""
        return {u.id: " ".join(w for w in u.text.split() if w.lower() not in NOISES) for u in self.utterances}

    def stm(self) -> list[StmSegment]:
        """The reference as stm segments: those of the data folder, else one an utterance."""
        texts = self.texts
        return self.segments or [
            StmSegment(u.recording_id, channel_name(u.channel), u.speaker, u.start, u.start + u.duration, texts[u.id])
            for u in self.utterances
        ]

    def ctm(self, hypothesis: Hypothesis) -> list[CtmWord]:
        """What counts of the recognised words, with times in the recording, in the order of a ctm file."""
        words = [
            CtmWord(u.recording_id, channel_name(u.channel), round(u.start + w.start, 3), round(w.duration, 3), w.word)
            for u in self.utterances
            for w in hypothesis.get(u.id, ())
        ]
        if self.is_hub5:
            return complete_channels(scorable_words(words), self.segments)
        return sorted((w for w in words if w.word not in NOISES), key=lambda w: (w.recording, w.channel, w.start))

    def score(self, hypothesis: Hypothesis) -> list[Scored]:
        """Count the errors of every utterance, or of every segment by the Hub-5 rules.

        Raises:
            ValueError: the hypothesis names an utterance that the data folder does not have.
        """
        if self.is_hub5:
            return [Scored(a.name, a.speaker, a.recording, a.counts) for a in self.align(hypothesis)]
        self._check(hypothesis)
        texts = self.texts
        return [
            Scored(u.id, u.speaker, u.recording_id, self._count(texts[u.id], hypothesis.get(u.id, ())))
            for u in self.utterances
        ]

    def align(self, hypothesis: Hypothesis) -> list[Aligned]:
        """Align every utterance, or every segment by the Hub-5 rules: what `score` counts, in its order.

        Raises:
            ValueError: the hypothesis names an utterance that the data folder does not have.
        """
        self._check(hypothesis)
        if self.is_hub5:
            scored = score_segments(self.segments, self.ctm(hypothesis), *self.mapping)
            return [
                Aligned(f"{s.segment.speaker}-{n:04d}", s.segment.speaker, s.segment.recording, s.text, s.steps)
                for n, s in enumerate(scored)
            ]
        texts = self.texts
        aligned = []
        for u in self.utterances:
            networks = (
                literal_transcript(words) for words in (texts[u.id].split(), _counting(hypothesis.get(u.id, ())))
            )
            aligned.append(Aligned(u.id, u.speaker, u.recording_id, texts[u.id], align_steps(*networks)))
        return aligned

    def _check(self, hypothesis: Hypothesis) -> None:
        if unknown := hypothesis.keys() - {u.id for u in self.utterances}:
            raise ValueError(f"utterance {min(unknown)} was decoded, but is not in the data folder to score against")

    def _count(self, reference: str, words: Sequence[TimedWord]) -> Counts:
        """Align one utterance; the answer is kept, as many weightings lead to the same words."""
        key = (reference, _counting(words))
        if key not in self._known:
            self._known[key] = align(literal_transcript(reference.split()), literal_transcript(key[1]))
        return self._known[key]


def _counting(words: Sequence[TimedWord]) -> tuple[str, ...]:
    return tuple(w.word for w in words if w.word not in NOISES)
