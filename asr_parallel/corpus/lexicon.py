"""Pronunciation lexicons: MS-State's dictionary, Kaldi's lexicon.txt and lexiconp.txt, the built-in digits.

A lexicon is `word -> [(probability, phones), ...]`. Probabilities are those of Kaldi's lexiconp.txt: the likeliest
pronunciation of a word has 1.0, so that a word with many variants is not punished for having them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from asr_parallel.corpus.transcripts import map_token
from asr_parallel.record.files import read_lines, write_lines
from asr_parallel.record.log import logger

Pronunciation = tuple[float, tuple[str, ...]]
Lexicon = dict[str, list[Pronunciation]]

OOV_WORD = "<unk>"
OPTIONAL_SILENCE = "sil"
# Non-speech phones in the order they take in phones.txt; names from Kaldi's egs/swbd/s5c/local/swbd1_prepare_dict.sh
SILENCE_PHONES = (OPTIONAL_SILENCE, "spn", "nsn", "lau")
NOISE_WORDS = {"[vocalized-noise]": "spn", "[noise]": "nsn", "[laughter]": "lau"}
RESERVED_WORDS = {"<eps>", "<s>", "</s>"}  # symbols of the FSTs and of ARPA files


def read_lexicon(path: Path, ms_state: bool = False) -> Lexicon:
    """Read "word phone phone ..." or, when every line's second field is a number, "word probability phone ...".

    Lines starting with `#` are comments, as in MS-State's dictionary. Words and phones are kept as they are,
    except that silence phones are recognised in any case. `ms_state` says that it is MS-State's dictionary: its words
    are mapped as those of the transcripts are, its phones put into lower case.

    Raises:
        ValueError: a line without phones, a reserved symbol, a probability outside (0, 1], no entry, not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such lexicon; expected a file of lines 'word phone phone ...'")
    return _parse(str(path), read_lines(path), ms_state)


def digits_lexicon() -> Lexicon:
    """The built-in lexicon of zero to nine."""
    source = resources.files("asr_parallel.corpus") / "digits_lexicon.txt"
    return _parse("digits", source.read_text(encoding="utf-8").splitlines(), ms_state=False)


def _parse(name: str, lines: list[str], ms_state: bool) -> Lexicon:
    rows = [(n, line.lower().split() if ms_state else line.split()) for n, line in enumerate(lines, 1)]
    rows = [(n, fields) for n, fields in rows if fields and not fields[0].startswith("#")]
    if not rows:
        raise ValueError(f"{name}: holds no word; expected lines 'word phone phone ...'")
    with_probability = all(len(fields) > 2 and _is_number(fields[1]) for _, fields in rows)
    lexicon: Lexicon = {}
    for n, (word, *rest) in rows:
        if ms_state:
            word = map_token(word)
            if not word or word in NOISE_WORDS:  # their phones are add_noise_words's
                continue
        probability = float(rest.pop(0)) if with_probability else 1.0
        if not rest:
            raise ValueError(f"{name}: line {n}: the word {word!r} has no phones")
        if word in RESERVED_WORDS:
            raise ValueError(f"{name}: line {n}: {word!r} is reserved and cannot be a word")
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"{name}: line {n}: probability {probability} of {word!r} is not above 0 and at most 1")
        phones = tuple(phone.lower() if phone.lower() in SILENCE_PHONES else phone for phone in rest)
        if bad := [phone for phone in phones if phone.startswith("#") or phone == "<eps>"]:
            raise ValueError(f"{name}: line {n}: {bad[0]!r} is reserved and cannot be a phone")
        variants = lexicon.setdefault(word, [])
        if phones not in (known for _, known in variants):  # dictionaries repeat lines
            variants.append((probability, phones))
    return lexicon


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_lexicon(path: Path, lexicon: Lexicon) -> None:
    """Write Kaldi's lexiconp.txt, words in bytewise order."""
    write_lines(
        path,
        (f"{word} {prob:.6g} {' '.join(phones)}" for word in sort_words(lexicon) for prob, phones in lexicon[word]),
    )


def sort_words(words: Iterable[str]) -> list[str]:
    """Words in the bytewise order of `LC_ALL=C sort`, the order of words.txt."""
    return sorted(words, key=lambda word: word.encode())


def add_noise_words(lexicon: Lexicon, words: Iterable[str]) -> Lexicon:
    """The lexicon with `<unk>` and with those noise words that occur among `words` (of the training text).

    A noise that is never heard in training gets no phone: its model could not be estimated.
    """
    heard = set(words)
    noises = {word: phone for word, phone in NOISE_WORDS.items() if word in heard}
    extra: Lexicon = {word: [(1.0, (phone,))] for word, phone in (noises | {OOV_WORD: "spn"}).items()}
    return {**lexicon, **extra}


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    return counts


def out_of_vocabulary(counts: Counter[str], lexicon: Mapping[str, object]) -> list[tuple[str, int]]:
    """Words without a pronunciation, with their counts, the most frequent first."""
    missing = [(word, n) for word, n in counts.items() if word not in lexicon]
    return sorted(missing, key=lambda pair: (-pair[1], pair[0].encode()))


def write_oov_words(path: Path, counts: Counter[str], lexicon: Mapping[str, object]) -> None:
    """List the words that will be mapped to `<unk>` ("word count" lines) and log how many they are.

    Raises:
        ValueError: no word at all has a pronunciation: the lexicon is of another language or letter case.
    """
    missing = out_of_vocabulary(counts, lexicon)
    write_lines(path, (f"{word} {n}" for word, n in missing))
    running, total = sum(n for _, n in missing), sum(counts.values())
    if missing and not any(word in lexicon for word in counts if word not in NOISE_WORDS):
        raise ValueError(f"none of the text's words ({missing[0][0]!r}, ...) is in the lexicon")
    if missing:
        logger.warning(
            "%d words (%d of %d running words) are not in the lexicon and become %s; they are listed in %s",
            *(len(missing), running, total, OOV_WORD, path.name),
        )


def estimate_probabilities(lexicon: Lexicon, counts: Mapping[tuple[str, tuple[str, ...]], int]) -> Lexicon:
    """Pronunciation probabilities from how often an alignment chose each (word, phones).

    Add-one smoothed, then divided by the word's largest, as Kaldi's utils/dict_dir_add_pronprobs.sh.
    """
    estimated: Lexicon = {}
    for word, variants in lexicon.items():
        smoothed = [1 + counts.get((word, phones), 0) for _, phones in variants]
        estimated[word] = [(n / max(smoothed), phones) for n, (_, phones) in zip(smoothed, variants, strict=True)]
    return estimated
