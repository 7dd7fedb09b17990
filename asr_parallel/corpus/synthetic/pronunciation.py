"""Pronunciations of eSpeak NG's American voice, in ARPAbet-like phones.

Words are also looked up within sentences, where function words ("a", "to", "the") are pronounced differently.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from asr_parallel.corpus.synthetic.espeak_library import library

VOICE = "en-us"
LEAST_SHARE = 0.15  # smallest share of a word's occurrences of a variant in the dictionary
MOST_VARIANTS = 3

# eSpeak NG's American phonemes (its own mnemonics) -> phones as in the MS-State dictionary; dx is the flap of "water"
PHONES: Mapping[str, str] = {
    **{name: name for name in ("p", "b", "t", "d", "k", "f", "v", "s", "z", "m", "n", "l", "r", "w")},
    **{"t2": "t", "t#": "dx", "?": "t", "g": "g", "T": "th", "D": "dh", "S": "sh", "Z": "zh", "tS": "ch", "dZ": "jh"},
    **{"N": "ng", "h": "hh", "j": "y", "r-": "r", "n-": "en", "@L": "el"},
    **{
        "i:": "iy",
        "i": "iy",
        "I": "ih",
        "I2": "ih",
        "I#": "ih",
        "E": "eh",
        "a": "ae",
        "aa": "ae",
        "A:": "aa",
        "0": "aa",
    },
    **{
        "V": "ah",
        "O:": "ao",
        "O2": "ao",
        "O": "ao",
        "U": "uh",
        "u:": "uw",
        "u": "uw",
        "@": "ax",
        "@2": "ax",
        "a#": "ax",
    },
    **{"@-": "ax", "3": "er", "3:": "er", "eI": "ey", "aI": "ay", "OI": "oy", "oU": "ow", "aU": "aw"},
    **{"A@": "aa r", "o@": "ao r", "O@": "ao r", "e@": "eh r", "i@3": "ih r", "i@": "iy ax", "U@": "uh r"},
    **{"aI@": "ay ax", "aI3": "ay er", "aU@": "aw ax", "aU3": "aw er"},
}


def to_phones(phonemes: Sequence[str]) -> tuple[str, ...]:
    """Map eSpeak's phonemes to phones.

    Raises:
        ValueError: a phoneme not in the table.
    """
    phones: list[str] = []
    for name in phonemes:
        if name not in PHONES:
            raise ValueError(
                f"eSpeak phoneme {name!r} (in {' '.join(phonemes)}) has no phone; known: {' '.join(PHONES)}"
            )
        for phone in PHONES[name].split():
            # an r after "er" is dropped, and so is a repeated phone
            if not (phones and (phones[-1] == phone or (phone == "r" and phones[-1] == "er"))):
                phones.append(phone)
    return tuple(phones)


def pronounce(words: Iterable[str], sentences: Iterable[Sequence[str]]) -> dict[str, list[tuple[str, ...]]]:
    """Return the pronunciations of each word, the most frequent first. Call it in a fresh process: it loads eSpeak NG.

    Args:
        words: the words to look up.
        sentences: examples of their use, tokenised.

    Raises:
        ValueError: a word cannot be pronounced.
    """
    library().set_voice(VOICE, 180, 50, 50)
    variants: dict[str, Counter[tuple[str, ...]]] = {word: Counter() for word in words}
    for sentence in sentences:
        said = library().phonemes(" ".join(sentence))
        if len(said) == len(sentence):  # else eSpeak joined some words ("of the"), and which is unknown
            for word, phonemes in zip(sentence, said, strict=True):
                if word in variants:
                    variants[word][to_phones(phonemes)] += 1
    found = {}
    for word, counts in variants.items():
        if not counts:
            counts[to_phones([name for part in library().phonemes(word) for name in part])] += 1
        total = counts.total()
        ranked = [
            phones for phones, count in counts.most_common(MOST_VARIANTS) if phones and count >= LEAST_SHARE * total
        ]
        if not ranked:
            raise ValueError(f"eSpeak NG gives no pronunciation for {word!r}")
        found[word] = ranked
    return found
