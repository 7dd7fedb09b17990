"""Simulation of turn taking: two speakers on one time line."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from asr_parallel.corpus.synthetic.language import Split, draw_sentence
from asr_parallel.corpus.synthetic.speech import Engine, Speech
from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import BACKCHANNELS, SOUNDS, SpecialTokens, Token, speak_naturally, words
from asr_parallel.corpus.synthetic.voices import Speaker

SENTENCES_A_TURN = (0.5, 0.3, 0.2)  # probability of one, two, three
MONOLOGUE_SENTENCES = 3  # in each turn of the speaker of a monologue
GAP_SECONDS = (
    0.25,
    0.4,
)  # mean and deviation of the time between turns; negative means they overlap (Switchboard-like)
GAP_LIMITS = (-0.7, 1.6)
SENTENCE_GAP = (0.15, 0.7)  # seconds between sentences of a turn
BACKCHANNEL_SHARE = 0.4  # share of sentences longer than BACKCHANNEL_AFTER with a backchannel of the listener
BACKCHANNEL_AFTER = 2.0  # seconds
LAUGH_SHARE = 0.08  # share of backchannels that are only laughter
OFF_TOPIC = 0.2  # share of sentences on another topic
SPECIAL_SHARE = 0.16  # share of sentences with a special token
SPECIALS_AT_FIRST = 3  # in each sentence of a conversation that must have every kind
MARGIN_SECONDS = 0.48  # mean difference between the length of a turn's segment and its speech
REPEAT_MEMORY = 30  # a sentence is not repeated within so many


@dataclass(frozen=True, slots=True)
class PlacedUtterance:
    """A sentence or backchannel on the time line; start in seconds."""

    side: int
    speaker: Speaker
    tokens: tuple[Token, ...]
    start: float
    speech: Speech

    @property
    def end(self) -> float:
        """End in seconds."""
        return self.start + self.speech.seconds


@dataclass
class SyntheticConversation:
    """A conversation before the telephone is simulated."""

    topic: str
    said: list[PlacedUtterance]
    seconds: float

    def voices(self) -> np.ndarray:
        """Return the clean voices of both sides, (2, T) float32 at 8000 Hz, zero outside speech."""
        tracks = np.zeros((2, round(self.seconds * RATE)), dtype=np.float32)
        for piece in self.said:
            first = round(piece.start * RATE)
            tracks[piece.side, first : first + len(piece.speech.samples)] += piece.speech.samples
        return tracks


@dataclass
class Plan:
    """Specification of a conversation.

    Attributes:
        topic, split: the topic and the split, which decide the sentences it may use.
        speakers: the speakers of side A and side B.
        seconds: amount of speech, both sides together.
        hesitation: see `telephone.Difficulty`.
        monologue: side A speaks nearly all the time.
        every_kind: the first sentences have many special tokens, until each kind has occurred.
        visitor: a second speaker on side A, in every other turn of that side.
    """

    topic: str
    split: Split
    speakers: tuple[Speaker, Speaker]
    seconds: float
    hesitation: float = 0.05
    monologue: bool = False
    every_kind: bool = False
    visitor: Speaker | None = None


@dataclass
class _Timeline:
    """The time line under construction: utterances so far, and when each side becomes free."""

    engine: Engine
    rng: np.random.Generator
    said: list[PlacedUtterance] = field(default_factory=list)
    busy_until: list[float] = field(default_factory=lambda: [0.3, 0.3])
    transcribed: float = 0.0

    def place(self, side: int, speaker: Speaker, tokens: Sequence[Token], start: float, most: float = 1e9) -> float:
        """Add speech at `start`, or when the side is free; skip it if after `most`. Return its end."""
        start = round(max(start, self.busy_until[side]) * RATE) / RATE
        if start > most:
            return start
        speech = self.engine.say(tokens, speaker, self.rng)
        piece = PlacedUtterance(side, speaker, tuple(tokens), start, speech)
        self.said.append(piece)
        self.busy_until[side] = piece.end + 0.1
        self.transcribed += speech.seconds + MARGIN_SECONDS
        return piece.end


def hold_conversation(
    plan: Plan, topics: Sequence[str], engine: Engine, rng: np.random.Generator
) -> SyntheticConversation:
    """Generate turns of two speakers until there are `plan.seconds` seconds of speech."""
    timeline = _Timeline(engine, rng)
    special_tokens = SpecialTokens(rng)
    recent: list[list[str]] = []
    now, sentences, turn = float(rng.uniform(0.3, 2.0)), 0, 0
    while timeline.transcribed < plan.seconds:
        side = turn % 2
        is_monologue = plan.monologue and side == 0
        count = MONOLOGUE_SENTENCES if is_monologue else 1 + int(rng.choice(3, p=SENTENCES_A_TURN))
        if plan.monologue and side == 1:
            count = 1
        speaker = plan.speakers[side]
        if plan.visitor is not None and side == 0 and turn % 4 == 2:  # every other turn of side A
            speaker = plan.visitor
        for _ in range(count):
            topic = plan.topic if rng.random() > OFF_TOPIC else str(rng.choice(list(topics)))
            text = _fresh_sentence(topic, plan.split, rng, recent)
            full = plan.every_kind and sentences * SPECIALS_AT_FIRST < SpecialTokens.size()
            specials = [
                special_tokens.draw() for _ in range(SPECIALS_AT_FIRST if full else int(rng.random() < SPECIAL_SHARE))
            ]
            sentences += 1
            start = now
            now = timeline.place(side, speaker, speak_naturally(text, rng, plan.hesitation, specials), start)
            if now - start > BACKCHANNEL_AFTER and rng.random() < BACKCHANNEL_SHARE:
                when = rng.uniform(start + 1.0, now + 0.2)
                timeline.place(1 - side, plan.speakers[1 - side], _backchannel(rng), when, most=now + 0.5)
            now += rng.uniform(*SENTENCE_GAP)
        now += float(np.clip(rng.normal(*GAP_SECONDS), *GAP_LIMITS)) - SENTENCE_GAP[0]
        turn += 1
    end = max(piece.end for piece in timeline.said) + rng.uniform(0.5, 1.5)
    said = sorted(timeline.said, key=lambda piece: (piece.start, piece.side))
    return SyntheticConversation(plan.topic, said, round(end * RATE) / RATE)


def _fresh_sentence(topic: str, split: Split, rng: np.random.Generator, recent: list[list[str]]) -> list[str]:
    """Return a sentence that is not in `recent`, and add it there."""
    text = draw_sentence(topic, split, rng)
    while text in recent:
        text = draw_sentence(topic, split, rng)
    recent.append(text)
    del recent[:-REPEAT_MEMORY]
    return text


def _backchannel(rng: np.random.Generator) -> list[Token]:
    """Return a backchannel of the listener."""
    if rng.random() < LAUGH_SHARE:
        return [Token(SOUNDS["laughter"], "", "laughter")]
    return words(str(rng.choice(BACKCHANNELS)))
