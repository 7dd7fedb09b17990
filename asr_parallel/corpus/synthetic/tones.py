"""Tones in place of speech, without a synthesiser: each letter is a pair of tones.

They serve to try a recipe quickly and without the optional package. Nobody understands them, but a recogniser can be
trained on them: each letter is a phone.
"""

from collections.abc import Sequence

import numpy as np

from asr_parallel.corpus.synthetic.sounds import add_laughter, make_sound
from asr_parallel.corpus.synthetic.speech import Speech, cut, join
from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import Token
from asr_parallel.corpus.synthetic.voices import Speaker

_PHONES = "ae b k d eh f g hh ih jh k l m n ow p k r s t ah v w s iy z"  # for a to z
PHONE_OF_LETTER = dict(zip("abcdefghijklmnopqrstuvwxyz", _PHONES.split(), strict=True))
SECONDS_A_LETTER = 0.06
GAP_SECONDS = 0.02  # between words
LOUDNESS = 0.06  # RMS


def spell(text: str) -> tuple[str, ...]:
    """Return the phones of a word, one for each letter."""
    phones = tuple(PHONE_OF_LETTER[letter] for letter in text if letter in PHONE_OF_LETTER)
    if not phones:
        raise ValueError(f"{text!r}: no letter to spell it with")
    return phones


class ToneEngine:
    """A synthesiser of tones, one letter after another."""

    def __init__(self) -> None:
        self._index_of_phone = {phone: at for at, phone in enumerate(sorted(set(PHONE_OF_LETTER.values())))}

    def say(self, tokens: Sequence[Token], speaker: Speaker, rng: np.random.Generator) -> Speech:
        """Return the tokens as tones (see `speech.Engine`)."""
        return join([self._token(token, speaker, rng) for token in tokens])

    def _token(self, token: Token, speaker: Speaker, rng: np.random.Generator) -> Speech:
        if token.kind == "mark":
            return Speech(np.zeros(0, dtype=np.float32), ((0.0, 0.0),))
        if not token.spoken:
            return make_sound(token.kind, speaker, rng)
        spoken = self._word(token.spoken, speaker, rng)
        length = spoken.times[0][1]
        if token.kind == "beginning":
            return cut(spoken, 0.0, length * token.share)
        if token.kind == "ending":
            return cut(spoken, length * (1 - token.share), length)
        return add_laughter(spoken, rng) if token.kind == "laughed" else spoken

    def _word(self, text: str, speaker: Speaker, rng: np.random.Generator) -> Speech:
        n = round(SECONDS_A_LETTER * RATE * 180 / speaker.words_a_minute)
        t = np.arange(n) / RATE
        pieces = []
        for phone in spell(text):
            index = self._index_of_phone[phone]
            low = (350 + 40 * index) * speaker.formant_factor
            high = (1400 + 170 * (index * 7 % 11)) * speaker.formant_factor
            phase = rng.uniform(0, 6.28, 2)
            wave = np.sin(2 * np.pi * low * t + phase[0]) + np.sin(2 * np.pi * high * t + phase[1])
            pieces.append(wave * np.hanning(n) ** 0.5 * LOUDNESS)
        sound = np.concatenate(pieces).astype(np.float32)
        gap = np.zeros(round(GAP_SECONDS * RATE), dtype=np.float32)
        return Speech(np.concatenate([sound, gap]), ((0.0, len(sound) / RATE),))
