"""Speech synthesis with eSpeak NG. Use it in fresh processes only (see `espeak_library`)."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from scipy.signal import resample_poly

from asr_parallel.corpus.synthetic.espeak_library import library, word_spans
from asr_parallel.corpus.synthetic.sounds import add_laughter, make_sound
from asr_parallel.corpus.synthetic.speech import Speech, cut, join
from asr_parallel.corpus.synthetic.sphere import RATE
from asr_parallel.corpus.synthetic.tokens import HESITATIONS, Token
from asr_parallel.corpus.synthetic.voices import Speaker

LOUDNESS = 0.06  # RMS of the speech; the simulated telephone sets the final level
LOUDNESS_SPREAD_DB = 2.0  # standard deviation between runs of words
PAUSE_SECONDS = (0.02, 0.15)  # kept after a run of words
QUESTION_WORDS = frozenset(("do", "does", "did", "is", "are", "have", "has", "what", "who", "how", "where"))
UP = 160  # 22050 Hz * 160 / 441 = 8000 Hz; a formant factor changes 441


class EspeakEngine:
    """A synthesiser that uses eSpeak's voices with scaled formants, at 8000 Hz."""

    def __init__(self) -> None:
        self._speaker: Speaker | None = None

    def say(self, tokens: Sequence[Token], speaker: Speaker, rng: np.random.Generator) -> Speech:
        """Speak the tokens (see `speech.Engine`). Consecutive plain words are synthesised together."""
        if speaker != self._speaker:
            # resampling scales formants, pitch and rate together: the rate is compensated here
            rate = round(speaker.words_a_minute / speaker.formant_factor)
            library().set_voice(speaker.voice, rate, speaker.pitch, speaker.pitch_range)
            self._speaker = speaker
        pieces: list[Speech] = []
        for kind, run in groupby(tokens, key=lambda token: token.kind):
            if kind == "word":
                pieces.append(_words([token.spoken for token in run], speaker, rng))
            elif kind == "mark":
                pieces += [Speech(np.zeros(0, dtype=np.float32), ((0.0, 0.0),)) for _ in run]
            else:
                pieces += [_special(token, speaker, rng) for token in run]
        return join(pieces)


def _special(token: Token, speaker: Speaker, rng: np.random.Generator) -> Speech:
    """Return a sound, a partial word, or a word said while laughing."""
    if not token.spoken:
        return make_sound(token.kind, speaker, rng)
    said = _words([token.spoken], speaker, rng)
    (start, end) = said.times[0]
    if token.kind == "beginning":
        return cut(said, start, start + (end - start) * token.share)
    if token.kind == "ending":
        return cut(said, end - (end - start) * token.share, end)
    return add_laughter(said, rng)


def _words(words: Sequence[str], speaker: Speaker, rng: np.random.Generator) -> Speech:
    """Synthesise a run of plain words."""
    written = [f"{word}," if word in HESITATIONS else word for word in words]  # a comma makes the voice hesitate
    starts = np.cumsum([0, *(len(word) + 1 for word in written[:-1])])
    text = " ".join(written) + ("?" if words[0] in QUESTION_WORDS else ".")
    samples, events = library().synthesise(text)
    spans = word_spans([int(s) for s in starts], [len(word) for word in words], events, len(samples))
    down = round(library().rate / 50 * speaker.formant_factor)
    rate = down * 50  # assumed sampling rate of the samples
    kept = min(len(samples), spans[-1][1] + round(rng.uniform(*PAUSE_SECONDS) * rate))
    resampled = resample_poly(samples[:kept].astype(np.float32) / 32768, UP, down).astype(np.float32)
    gain = LOUDNESS * 10 ** (rng.normal(0, LOUDNESS_SPREAD_DB) / 20)
    resampled *= gain / max(float(np.sqrt(np.mean(resampled**2))), 1e-4)
    return Speech(resampled, tuple((first / rate, min(last / rate, len(resampled) / RATE)) for first, last in spans))
