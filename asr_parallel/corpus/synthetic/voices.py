"""Speakers: each has a voice, a speaking style and a vocal-tract length."""

from dataclasses import dataclass

import numpy as np

from asr_parallel.corpus.synthetic.language import Split

# probabilities of eSpeak NG's English accents, mostly American as in Switchboard
ACCENTS = {
    "en-us": 0.62,
    "en-us-nyc": 0.14,
    "en": 0.06,
    "en-gb-x-rp": 0.06,
    "en-gb-scotland": 0.04,
    "en-gb-x-gbcwmd": 0.04,
    "en-029": 0.04,
}
# Variants of eSpeak NG that sound like a person: those whose phones a plain Gaussian classifier, trained on the other
# voices at 8 kHz, got right in at least 0.3 of the frames (the best 0.68; whispers, robots, jokes mostly less).
# f2, f3, f5, sandro and victor are left out because eSpeak NG 1.52 is not deterministic with them.
# No variant is in both splits: the evaluation's voices are new in timbre, not only in pitch.
_TRAIN_MEN = "m1 m3 m4 m5 m8 Alex max ed pablo Hugo paul pedro rob Mario quincy antonio Gene edward2 Denis adam"
_EVAL_MEN = "m6 m7 Mike Nguyen robert miguel Storm klatt6"
VARIANTS: dict[Split, dict[str, list[str]]] = {
    "train": {"M": _TRAIN_MEN.split(), "F": ["f1", "f4", "steph", "anika", "grandma", "belinda"]},
    "eval": {"M": _EVAL_MEN.split(), "F": ["Andrea", "steph3", "linda", "aunty"]},
}
PITCH = {"M": (15, 70), "F": (25, 80)}  # of eSpeak's 0 to 99
PITCH_RANGE = (30, 75)  # liveliness, of eSpeak's 0 to 100
WORDS_A_MINUTE = (150, 215)  # conversational English is near 190
VOCAL_TRACT = {"M": (0.92, 1.06), "F": (0.96, 1.12)}  # factor on all formants, as in vocal-tract-length perturbation


@dataclass(frozen=True, slots=True)
class Speaker:
    """The voice of a speaker.

    Attributes:
        name: unique in the corpus.
        sex: "M" or "F".
        voice: name in eSpeak NG, accent+variant.
        pitch, pitch_range: eSpeak's parameters, 0 to 99.
        words_a_minute: eSpeak's speaking rate.
        formant_factor: factor on all formants.
    """

    name: str
    sex: str
    voice: str
    pitch: int
    pitch_range: int
    words_a_minute: int
    formant_factor: float


def draw_speaker(name: str, split: Split, number: int, rng: np.random.Generator) -> Speaker:
    """Draw speaker `number` of a split; variants are used in turn, so that even a few speakers have different ones."""
    sex = "MF"[int(rng.integers(2))]
    accent = str(rng.choice(list(ACCENTS), p=list(ACCENTS.values())))
    variant = VARIANTS[split][sex][number % len(VARIANTS[split][sex])]
    return Speaker(
        name=name,
        sex=sex,
        voice=f"{accent}+{variant}",
        pitch=int(rng.integers(*PITCH[sex])),
        pitch_range=int(rng.integers(*PITCH_RANGE)),
        words_a_minute=int(rng.integers(*WORDS_A_MINUTE)),
        formant_factor=round(float(rng.uniform(*VOCAL_TRACT[sex])), 3),
    )
