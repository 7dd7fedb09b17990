"""Tokens of the transcripts, and the insertion of special tokens into plain sentences.

The kinds and their notation are those of the MS-State Switchboard transcripts:
`[laughter]` `[noise]` `[vocalized-noise]` `[laughter-word]` `ab[solute]-` `-[an]y` `[it'n/isn't]` `{yuppiedom}`
`them_1` `<b_aside>` `<e_aside>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Kind = Literal["word", "beginning", "ending", "laughed", "laughter", "noise", "vocalized", "mark"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a transcript.

    Attributes:
        written: its form in the transcript.
        spoken: the word to say, in plain spelling; empty for sounds and marks.
        kind: a plain word, the beginning or ending of a partial word, a word spoken while laughing, a sound, or a
            mark without sound.
        share: spoken share of a partial word (0 to 1).
        reference: its form in the reference of the evaluation; "" if it is left out there.
    """

    written: str
    spoken: str
    kind: Kind = "word"
    share: float = 1.0
    reference: str = ""


def word(text: str) -> Token:
    """Return a plain word."""
    return Token(text, text, reference=text)


HESITATIONS = ("uh", "um")
BACKCHANNELS = (
    "uh-huh",
    "um-hum",
    "yeah",
    "right",
    "okay",
    "oh",
    "oh yeah",
    "oh really",
    "that's true",
    "that's right",
    "i know",
    "well that's good",
    "sure",
    "exactly",
    "no",
    "yes",
)
OPENERS = ("well", "yeah", "so", "but", "and", "oh", "you know", "i mean", "no", "okay", "and then", "right but")
TAGS = ("you know", "i guess", "too", "though", "i think", "or something", "and all that", "right")
COINAGES = ("yuppiedom", "chickeny", "snowish", "dogdom", "unfixable", "golfaholic")  # in no dictionary
# intended word -> spelling in the transcript, spelling for the synthesiser
MISPRONOUNCED = {
    "isn't": ("it'n", "itten"),
    "wasn't": ("wadn't", "wadn't"),
    "can't": ("cain't", "cain't"),
    "because": ("becuz", "becuz"),
}
WEAK_FORMS = {"them": "em", "about": "bout", "because": "cuz"}  # written them_1, ...: variants in the dictionary
ASIDES = ("hold on a minute", "not now honey", "be quiet", "i'm on the phone")

LEAD_INS = {
    "weak": "i think",
    "coinage": "it's like",
    "mispronounced": "it so",
    "long": "and everything",
}  # words inserted before the special token

SOUNDS: dict[Kind, str] = {"laughter": "[laughter]", "noise": "[noise]", "vocalized": "[vocalized-noise]"}
SPECIAL_KINDS = (  # drawn in random order without replacement, so that even a short conversation has many kinds
    "laughter",
    "noise",
    "vocalized",
    "laughed",
    "beginning",
    "beginning",
    "ending",
    "mispronounced",
    "coinage",
    "weak",
    "aside",
)


class SpecialTokens:
    """A sampler of special token kinds without replacement: each occurs once before any occurs again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._remaining: list[str] = []

    @staticmethod
    def size() -> int:
        """Return the number of draws after which every kind has occurred."""
        return len(SPECIAL_KINDS)

    def draw(self) -> str:
        """Draw the next kind."""
        if not self._remaining:
            self._remaining = [SPECIAL_KINDS[at] for at in self._rng.permutation(len(SPECIAL_KINDS))]
        return self._remaining.pop()


def speak_naturally(
    sentence: Sequence[str], rng: np.random.Generator, hesitation: float, specials: Sequence[str]
) -> list[Token]:
    """Make a sentence spontaneous: add openers, tags, hesitations, repetitions and the given special tokens.

    Args:
        sentence: plain words.
        rng: random generator.
        hesitation: probability of a hesitation or repetition at a given word.
        specials: kinds from `SPECIAL_KINDS` to insert.
    """
    tokens = [word(text) for text in sentence]
    spots = rng.random(len(tokens))
    for at in reversed(range(len(tokens))):
        if spots[at] < hesitation / 2:
            tokens.insert(at, word(str(rng.choice(HESITATIONS))))
        elif spots[at] < hesitation and len(tokens[at].spoken) <= 4:
            tokens.insert(at, tokens[at])  # i i think
    if rng.random() < 0.3:
        tokens[:0] = [word(text) for text in str(rng.choice(OPENERS)).split()]
    if rng.random() < 0.12:
        tokens += [word(text) for text in str(rng.choice(TAGS)).split()]
    for special in specials:
        tokens = _insert_special(special, tokens, rng)
    return tokens


def _insert_special(special: str, tokens: list[Token], rng: np.random.Generator) -> list[Token]:
    """Insert a special token; if it does not fit in the sentence, add words that it fits."""
    at = int(rng.integers(len(tokens) + 1))
    long_words = [i for i, t in enumerate(tokens) if t.kind == "word" and len(t.spoken) >= 5 and t.spoken.isalpha()]
    if not long_words and special in ("laughed", "beginning", "ending"):
        tokens = [*tokens, *words(LEAD_INS["long"])]
        long_words = [len(tokens) - 1]
    chosen = int(rng.choice(long_words)) if long_words else 0
    match special:
        case "laughter" | "noise" | "vocalized":
            return [*tokens[:at], Token(SOUNDS[special], "", special), *tokens[at:]]
        case "laughed":
            laughed = Token(f"[laughter-{tokens[chosen].spoken}]", tokens[chosen].spoken, "laughed")
            tokens[chosen] = replace(laughed, reference=tokens[chosen].reference)
        case "beginning":
            tokens.insert(chosen, partial_word(tokens[chosen].spoken, int(rng.integers(2, 4))))
        case "ending":
            tokens.insert(chosen, word_ending(tokens[chosen].spoken, 2))
        case "mispronounced":
            at = next((i for i, t in enumerate(tokens) if t.written in MISPRONOUNCED), len(tokens))
            meant = tokens[at].written if at < len(tokens) else str(rng.choice(list(MISPRONOUNCED)))
            spoken, spelt = MISPRONOUNCED[meant]
            said = Token(f"[{spoken}/{meant}]", spelt, reference=meant)
            return [*tokens[:at], said, *(tokens[at + 1 :] or words(LEAD_INS["mispronounced"]))]
        case "coinage":
            coined = str(rng.choice(COINAGES))
            return [*tokens, *words(LEAD_INS["coinage"]), Token("{" + coined + "}", coined, reference=coined)]
        case "weak":
            weak = str(rng.choice(list(WEAK_FORMS)))
            return [*tokens, *words(LEAD_INS["weak"]), Token(f"{weak}_1", WEAK_FORMS[weak], reference=weak)]
        case "aside":
            aside = words(str(rng.choice(ASIDES)))
            return [*tokens, Token("<b_aside>", "", "mark"), *aside, Token("<e_aside>", "", "mark")]
    return tokens


def words(text: str) -> list[Token]:
    """Return plain words."""
    return [word(part) for part in text.split()]


def partial_word(text: str, letters: int) -> Token:
    """Return the first `letters` of a word, as `ab[solute]-`."""
    spoken = text[:letters]
    return Token(f"{spoken}[{text[letters:]}]-", text, "beginning", letters / len(text), f"{spoken}-")


def word_ending(text: str, letters: int) -> Token:
    """Return the last `letters` of a word, as `-[an]y`."""
    spoken = text[-letters:]
    return Token(f"-[{text[:-letters]}]{spoken}", text, "ending", letters / len(text), f"-{spoken}")
