"""Pronunciation lexicons: the MS-State dictionary, Kaldi's lexicon.txt and lexiconp.txt.

A lexicon is `word -> [(probability, phones), ...]`. Probabilities are as in Kaldi's lexiconp.txt: the most
likely pronunciation of a word has 1.0, so that a word is not penalised for having many variants.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from asr_parallel.corpus.transcripts import map_token
from asr_parallel.record.files import INVISIBLE, read_lines, read_text_lines, write_lines
from asr_parallel.record.log import logger

Pronunciation = tuple[float, tuple[str, ...]]
Lexicon = dict[str, list[Pronunciation]]

OOV_WORD = "<unk>"
OPTIONAL_SILENCE = "sil"
# Non-speech phones in the order they take in phones.txt; names from Kaldi's egs/swbd/s5c/local/swbd1_prepare_dict.sh
SILENCE_PHONES = (OPTIONAL_SILENCE, "spn", "nsn", "lau")
NOISE_WORDS = {"[vocalized-noise]": "spn", "[noise]": "nsn", "[laughter]": "lau"}
RESERVED_WORDS = {"<eps>", "<s>", "</s>"}  # symbols of the FSTs and of ARPA files; so are #0 #1 ...
DISAMBIGUATION = re.compile(r"#[0-9]+")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
LIKE_A_NUMBER = re.compile(r"[-+]?[0-9.,]*[0-9][0-9.,]*([eE][-+]?[0-9]+)?%?")  # 0,99 and 99% are not phones either
VARIANT = re.compile(r"(?<=.)\([0-9]+\)$")
EXPECTED = "expected 'word phone phone ...' or, in every line, 'word probability phone phone ...'"


def read_lexicon(path: Path, ms_state: bool = False) -> Lexicon:
    """Read "word phone phone ..." or, when every line's second field is a number, "word probability phone ...".

    The conventions of CMUdict and Sphinx are supported: `;;;` begins a comment, ` # ` ends the phones, `WORD(2)` is
    another pronunciation of WORD. A `#` on its own begins a comment too; in a longer word it is part of the word. Words
    and phones are kept as written, except that silence phones are recognised in any letter case. With `ms_state` (the
    MS-State dictionary) each line that begins with `#` is a comment, words are mapped like those of the transcripts,
    and phones are converted to lower case.

    Raises:
        ValueError: a line without phones, a number among the phones, a probability in some lines but not in others, a
            reserved symbol, a probability outside (0, 1], no entries, or text that is not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such lexicon; expected a file of lines 'word phone phone ...'")
    return _parse(str(path), read_text_lines(path), ms_state)


def _parse(name: str, lines: list[str], ms_state: bool) -> Lexicon:
    rows = []
    comment = ("#", ";;;") if ms_state else ";;;"
    for n, line in enumerate(lines, 1):
        fields = line.lower().split() if ms_state else line.split()
        if fields and not fields[0].startswith(comment) and fields[0].strip("#"):
            rows.append((n, fields[: fields.index("#", 1)] if "#" in fields[1:] else fields))
    if not rows:
        raise ValueError(f"{name}: holds no word; expected lines 'word phone phone ...'")
    digits = _digit_phones([fields[1:] for _, fields in rows])
    with_probability = all(len(fields) > 2 and NUMBER.fullmatch(fields[1]) for _, fields in rows)
    if not with_probability:
        _check_columns(name, rows, digits)
    lexicon: dict[str, dict[tuple[str, ...], float]] = {}
    for n, (word, *rest) in rows:
        if ms_state:
            word = map_token(word)
            if not word or word in NOISE_WORDS:  # add_noise_words adds these with their phones
                continue
        else:
            word = VARIANT.sub("", word)
        probability = float(rest.pop(0)) if with_probability else 1.0
        if not rest:
            raise ValueError(f"{name}: line {n}: the word {word!r} has no phones")
        if is_reserved(word):
            raise ValueError(f"{name}: line {n}: {word!r} is reserved and cannot be a word")
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"{name}: line {n}: probability {probability} of {word!r} is not above 0 and at most 1")
        phones = tuple(phone.lower() if phone.lower() in SILENCE_PHONES else phone for phone in rest)
        if bad := [phone for phone in phones if phone.startswith("#") or phone == "<eps>"]:
            raise ValueError(f"{name}: line {n}: {bad[0]!r} is reserved and cannot be a phone")
        if bad := [phone for phone in phones if LIKE_A_NUMBER.fullmatch(phone) and phone not in digits]:
            raise ValueError(f"{name}: line {n}: {bad[0]!r} of {word!r} is a number, not a phone; {EXPECTED}")
        variants = lexicon.setdefault(word, {})
        variants[phones] = max(probability, variants.get(phones, 0.0))  # dictionaries repeat lines
    return {
        word: [(probability, phones) for phones, probability in variants.items()] for word, variants in lexicon.items()
    }


def _digit_phones(pronunciations: list[list[str]]) -> set[str]:
    """Return the single digits that are phones, such as vowels in SAMPA (French "deux d 2") or tones.

    A digit is a phone if it follows another phone somewhere. A last column that is a number in every line is ignored.
    """
    if all(phones and LIKE_A_NUMBER.fullmatch(phones[-1]) for phones in pronunciations):
        pronunciations = [phones[:-1] for phones in pronunciations]
    pairs = {pair for phones in pronunciations for pair in pairwise(phones)}
    return {b for a, b in pairs if len(b) == 1 and LIKE_A_NUMBER.fullmatch(b) and not LIKE_A_NUMBER.fullmatch(a)}


def _check_columns(name: str, rows: list[tuple[int, list[str]]], digits: set[str]) -> None:
    """Raise ValueError for the first line that, unlike the first of all, has (or lacks) a number after its word."""
    numbers = [bool(LIKE_A_NUMBER.fullmatch(fields[1])) and fields[1] not in digits for _, fields in rows if fields[1:]]
    for (n, fields), number in zip((row for row in rows if row[1][1:]), numbers, strict=True):
        if number is not numbers[0]:
            has = "a number" if number else "no number"
            raise ValueError(
                f"{name}: line {n}: {' '.join(fields)!r} has {has} behind its word, unlike the first line; {EXPECTED}"
            )


def read_lexiconp(path: Path) -> Lexicon:
    """Read a lexiconp.txt written by `write_lexicon`, without comments or numbered variants.

    Raises:
        ValueError: a malformed line.
    """
    lexicon: Lexicon = {}
    for n, line in enumerate(read_lines(path), 1):
        word, *rest = line.split()
        if len(rest) < 2 or not NUMBER.fullmatch(rest[0]):
            raise ValueError(f"{path}: line {n}: expected 'word probability phone ...', got {line!r}")
        lexicon.setdefault(word, []).append((float(rest[0]), tuple(rest[1:])))
    return lexicon


def write_lexicon(path: Path, lexicon: Lexicon) -> None:
    """Write Kaldi's lexiconp.txt, words in bytewise order."""
    write_lines(
        path,
        (f"{word} {prob:.6g} {' '.join(phones)}" for word in sort_words(lexicon) for prob, phones in lexicon[word]),
    )


def is_reserved(word: str) -> bool:
    """Return True for a symbol of FSTs or ARPA files, which a lexicon must not have."""
    return word in RESERVED_WORDS or bool(DISAMBIGUATION.fullmatch(word))


def sort_words(words: Iterable[str]) -> list[str]:
    """Return words in the bytewise order of `LC_ALL=C sort`, the order of words.txt."""
    return sorted(words, key=lambda word: word.encode())


def add_noise_words(lexicon: Lexicon, words: Iterable[str]) -> Lexicon:
    """Return the lexicon with `<unk>` and with those noise words that occur among `words` (of the training text).

    A noise that does not occur in training gets no phone: its model could not be estimated.
    """
    present = set(words)
    noises = {word: phone for word, phone in NOISE_WORDS.items() if word in present}
    extra: Lexicon = {word: [(1.0, (phone,))] for word, phone in (noises | {OOV_WORD: "spn"}).items()}
    return {**lexicon, **extra}


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    return counts


def out_of_vocabulary(counts: Counter[str], lexicon: Mapping[str, object]) -> list[tuple[str, int]]:
    """Return the words without a pronunciation and their counts, the most frequent first."""
    missing = [(word, n) for word, n in counts.items() if word not in lexicon]
    return sorted(missing, key=lambda pair: (-pair[1], pair[0].encode()))


# description of a difference between words that look alike -> function that removes it
DIFFERENCES: dict[str, Callable[[str], str]] = {
    "another Unicode form (NFC against NFD)": lambda word: unicodedata.normalize("NFC", word),
    "invisible characters": lambda word: "".join(c for c in word if unicodedata.category(c) not in INVISIBLE),
    "another letter case": str.casefold,
}


def near_matches(missing: Iterable[str], known: Iterable[str]) -> str:
    """Return a hint for a message about unknown words, such as "; 2 of them are there with another letter case, ...".

    It is empty if no word differs from a known one only in `DIFFERENCES`. Nothing is corrected: lexicon, text and
    language model have to agree.
    """
    missing, known, found = list(missing), list(known), []
    for difference, plain in DIFFERENCES.items():
        there = {plain(word) for word in known}
        if near := [word for word in missing if plain(word) in there]:
            found.append(f"; {len(near)} of them are there with {difference}, such as {near[0]!r}")
    return "".join(found)


def write_oov_words(path: Path, counts: Counter[str], lexicon: Mapping[str, object]) -> None:
    """Write the words that will be mapped to `<unk>`, as lines "word count", and log their number.

    Raises:
        ValueError: no word has a pronunciation: the lexicon has another language or letter case.
    """
    missing = out_of_vocabulary(counts, lexicon)
    write_lines(path, (f"{word} {n}" for word, n in missing))
    hint = near_matches((word for word, _ in missing), lexicon)
    running, total = sum(n for _, n in missing), sum(counts.values())
    if missing and not any(word in lexicon for word in counts if word not in NOISE_WORDS):
        raise ValueError(f"none of the text's words ({missing[0][0]!r}, ...) is in the lexicon{hint}")
    if missing:
        logger.warning(
            "%d words (%d of %d running words) are not in the lexicon and become %s; they are listed in %s%s",
            *(len(missing), running, total, OOV_WORD, path.name, hint),
        )


def estimate_probabilities(lexicon: Lexicon, counts: Mapping[tuple[str, tuple[str, ...]], int]) -> Lexicon:
    """Estimate pronunciation probabilities from the counts of (word, phones) in an alignment.

    Counts are smoothed by adding one and divided by the word's largest, as in Kaldi's
    utils/dict_dir_add_pronprobs.sh.
    """
    estimated: Lexicon = {}
    for word, variants in lexicon.items():
        smoothed = [1 + counts.get((word, phones), 0) for _, phones in variants]
        estimated[word] = [(n / max(smoothed), phones) for n, (_, phones) in zip(smoothed, variants, strict=True)]
    return estimated
