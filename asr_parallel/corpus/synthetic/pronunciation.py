"""Pronunciations: what eSpeak NG's American voice says for each word, in ARPAbet-like phones.

Words are looked up within sentences too, because little words are said otherwise there ("a", "to", "the").
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from asr_parallel.corpus.synthetic.espeak_library import library

VOICE = "en-us"
LEAST_SHARE = 0.15  # of a word's occurrences a variant must have to enter the dictionary
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
            # "er" and a linking r are one sound here; so is any doubled phone
            if not (phones and (phones[-1] == phone or (phone == "r" and phones[-1] == "er"))):
                phones.append(phone)
    return tuple(phones)


def pronounce(words: Iterable[str], sentences: Iterable[Sequence[str]]) -> dict[str, list[tuple[str, ...]]]:
    """Return pronunciations of each word, the most frequent first. Loads eSpeak NG: call it in a process of its own.

    Args:
        words: all that need one.
        sentences: examples of their use.

    Raises:
        ValueError: a word cannot be pronounced.
    """
    library().set_voice(VOICE, 180, 50, 50)
    heard: dict[str, Counter[tuple[str, ...]]] = {word: Counter() for word in words}
    for sentence in sentences:
        said = library().phonemes(" ".join(sentence))
        if len(said) == len(sentence):  # else some are said as one word ("of the"): which is which is not told
            for word, phonemes in zip(sentence, said, strict=True):
                if word in heard:
                    heard[word][to_phones(phonemes)] += 1
    found = {}
    for word, counts in heard.items():
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
