"""The lang folder: phones, words, pronunciations and L, in Kaldi's files.

phones.txt words.txt       "symbol id"; <eps> is 0; phones: silence first, then speech, then #0 #1 ...
lexiconp.txt               "word probability phone phone ...": phones do not depend on their position in the word
phones/{silence,nonsilence,disambig,optional_silence}.txt   one phone a line
oov.txt                    the word that stands for words without a pronunciation
L.fst L_disambig.fst       kaldifst's StdVectorFst, arcs sorted by olabel; the second for decoding graphs
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldifst

from asr_parallel.corpus.lexicon import (
    OOV_WORD,
    OPTIONAL_SILENCE,
    SILENCE_PHONES,
    Lexicon,
    read_lexiconp,
    sort_words,
    write_lexicon,
)
from asr_parallel.hmm.lexicon_fst import disambiguation_numbers, lexicon_fst
from asr_parallel.hmm.topology import Topology
from asr_parallel.record.files import read_lines, write_lines

ALWAYS_THERE = (OPTIONAL_SILENCE, "spn")  # between words, and for words without a pronunciation


@dataclass(frozen=True)
class Lang:
    """An open lang folder. Ids are those of words.txt and phones.txt; id 0 is <eps>.

    words, phones: symbol -> id, disambiguation symbols, <s> and </s> included.
    lexicon: word -> [(probability, phone ids), ...].
    disambig_phones: ids of #0 #1 ... in order.
    """

    folder: Path
    words: dict[str, int]
    phones: dict[str, int]
    silence_phones: list[int]
    nonsilence_phones: list[int]
    disambig_phones: list[int]
    optional_silence: int
    oov_id: int
    lexicon: dict[str, list[tuple[float, tuple[int, ...]]]]

    @classmethod
    def open(cls, folder: Path) -> "Lang":
        """Open a folder made by `build_lang`.

        Raises:
            ValueError: not a lang folder, or its files do not fit together.
        """
        for name in ("words.txt", "phones.txt", "lexiconp.txt", "L.fst", "L_disambig.fst"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a lang folder made by stage 1")
        words, phones = read_symbols(folder / "words.txt"), read_symbols(folder / "phones.txt")

        def ids(name: str) -> list[int]:
            return _ids(phones, read_lines(folder / "phones" / f"{name}.txt"), folder)

        return cls(
            folder=folder,
            words=words,
            phones=phones,
            silence_phones=ids("silence"),
            nonsilence_phones=ids("nonsilence"),
            disambig_phones=ids("disambig"),
            optional_silence=ids("optional_silence")[0],
            oov_id=_ids(words, read_lines(folder / "oov.txt"), folder)[0],
            lexicon={
                word: [(prob, tuple(_ids(phones, names, folder))) for prob, names in variants]
                for word, variants in read_lexiconp(folder / "lexiconp.txt").items()
            },
        )

    def word_ids(self, text: str) -> list[int]:
        """Return word ids of a transcript; words without a pronunciation get `oov_id`."""
        return [self.words[word] if word in self.lexicon else self.oov_id for word in text.split()]


def check_phones(lang: Lang, topology: Topology, made: Path) -> None:
    """Raise ValueError unless `made`, whose HMMs have this topology, has the lang folder's phone ids.

    Where `made` has a phones.txt, the phones' names are compared, too.
    """
    real = {*lang.silence_phones, *lang.nonsilence_phones}
    same = real == set(topology.phones)
    if same and (made / "phones.txt").is_file():
        own = read_symbols(made / "phones.txt")
        same = all(own.get(phone) == i for phone, i in lang.phones.items() if i in real)
    if not same:
        raise ValueError(f"{made}: its phones are not those of {lang.folder}; make it with this lang folder")


def build_lang(folder: Path, lexicon: Lexicon) -> None:
    """Write a lang folder. `lexicon` is one that `add_noise_words` has completed."""
    assert OOV_WORD in lexicon
    used = {phone for variants in lexicon.values() for _, phones in variants for phone in phones}
    silence = [phone for phone in SILENCE_PHONES if phone in used or phone in ALWAYS_THERE]
    nonsilence = sorted(used - set(silence), key=str.encode)
    real = ["<eps>", *silence, *nonsilence]
    phone_ids = {phone: i for i, phone in enumerate(real)}
    word_list = sort_words(lexicon)
    words = {word: i for i, word in enumerate(["<eps>", *word_list, "#0", "<s>", "</s>"])}
    entries = [
        (words[word], probability, tuple(phone_ids[phone] for phone in phones))
        for word in word_list
        for probability, phones in lexicon[word]
    ]
    # #0 for the language model's backoff, the highest for silence, those between for homophones and prefixes
    highest = 1 + max(disambiguation_numbers([phones for _, _, phones in entries]))
    disambig = [f"#{n}" for n in range(highest + 1)]
    phone_ids |= {symbol: len(real) + n for n, symbol in enumerate(disambig)}

    write_symbols(folder / "phones.txt", phone_ids)
    write_symbols(folder / "words.txt", words)
    write_lexicon(folder / "lexiconp.txt", lexicon)
    write_lines(folder / "oov.txt", [OOV_WORD])
    lists: dict[str, Sequence[str]] = {
        "silence": silence,
        "nonsilence": nonsilence,
        "disambig": disambig,
        "optional_silence": [OPTIONAL_SILENCE],
    }
    for name, phones in lists.items():
        write_lines(folder / "phones" / f"{name}.txt", phones)
    sil = phone_ids[OPTIONAL_SILENCE]
    disambig_ids = [phone_ids[symbol] for symbol in disambig]
    _write_fst(folder / "L.fst", lexicon_fst(entries, sil))
    _write_fst(folder / "L_disambig.fst", lexicon_fst(entries, sil, disambig_ids, words["#0"]))


def read_symbols(path: Path) -> dict[str, int]:
    """Read a symbol table of "symbol id" lines.

    Raises:
        ValueError: a line of another form.
    """
    symbols: dict[str, int] = {}
    for n, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal():
            raise ValueError(f"{path}: line {n}: expected 'symbol id', got {line!r}")
        symbols[fields[0]] = int(fields[1])
    return symbols


def write_symbols(path: Path, symbols: dict[str, int]) -> None:
    """Write a symbol table of "symbol id" lines."""
    write_lines(path, (f"{symbol} {i}" for symbol, i in symbols.items()))


def _ids(table: dict[str, int], symbols: Iterable[str], folder: Path) -> list[int]:
    symbols = list(symbols)
    if missing := [symbol for symbol in symbols if symbol not in table]:
        raise ValueError(f"{folder}: the symbol {missing[0]!r} is in no symbol table; build the folder again")
    return [table[symbol] for symbol in symbols]


def _write_fst(path: Path, fst: kaldifst.StdVectorFst) -> None:
    if not fst.write(os.fsencode(path)):
        raise OSError(f"{path}: cannot be written")
