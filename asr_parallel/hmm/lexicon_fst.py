"""The lexicon as a transducer L from phones to words, with optional silence and disambiguation symbols."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import kaldifst

# One entry a pronunciation: word id, probability, phone ids.
Entry = tuple[int, float, tuple[int, ...]]

SILENCE_PROBABILITY = 0.5  # of silence before, between and after words: Kaldi's utils/prepare_lang.sh --sil-prob


def disambiguation_numbers(pronunciations: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the n of the symbol #n that must follow each pronunciation, 0 where none is needed.

    Homophones need one each (numbered 1, 2, ... in order), and so does a pronunciation that is a prefix of another,
    as in Kaldi's utils/add_lex_disambig.pl.
    """
    count = Counter(pronunciations)
    continued = {prefix for phones in count for prefix in accumulate((p,) for p in phones[:-1])}
    used: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for phones in pronunciations:
        if count[phones] > 1 or phones in continued:
            used[phones] += 1
            numbers.append(used[phones])
        else:
            numbers.append(0)
    return numbers


def lexicon_fst(
    entries: Sequence[Entry],
    silence: int,
    disambig: Sequence[int] = (),
    word_disambig: int | None = None,
) -> kaldifst.StdVectorFst:
    """Return the lexicon FST L: phones in, words out, arcs sorted by olabel, as Kaldi's make_lexicon_fst.py.

    Args:
        entries: pronunciations, in the order that the disambiguation symbols are numbered in.
        silence: phone id of the optional silence.
        disambig: phone ids of #0 #1 ... #n, the last one for silence; empty for the L of training.
        word_disambig: word id of #0, which passes through L (needed when `disambig` is given).
    """
    fst = kaldifst.StdVectorFst()
    start, loop, after_word = (fst.add_state() for _ in range(3))
    fst.start = start
    fst.set_final(loop, 0.0)
    silence_cost, no_silence_cost = -math.log(SILENCE_PROBABILITY), -math.log(1 - SILENCE_PROBABILITY)

    def add(source: int, phone: int, word: int, cost: float, target: int) -> None:
        fst.add_arc(source, kaldifst.StdArc(phone, word, cost, target))

    add(start, 0, 0, no_silence_cost, loop)
    add(start, 0, 0, silence_cost, after_word)
    if disambig:
        silence_end = fst.add_state()
        add(after_word, silence, 0, 0.0, silence_end)
        add(silence_end, disambig[-1], 0, 0.0, loop)
    else:
        add(after_word, silence, 0, 0.0, loop)

    numbers = disambiguation_numbers([phones for _, _, phones in entries]) if disambig else [0] * len(entries)
    for (word, probability, phones), number in zip(entries, numbers, strict=True):
        labels = (*phones, disambig[number]) if number else phones
        state, olabel, cost = loop, word, -math.log(probability)
        for label in labels[:-1]:
            following = fst.add_state()
            add(state, label, olabel, cost, following)
            state, olabel, cost = following, 0, 0.0  # the first arc carries the word and the probability
        add(state, labels[-1], olabel, cost + no_silence_cost, loop)
        add(state, labels[-1], olabel, cost + silence_cost, after_word)
    if disambig:
        assert word_disambig is not None
        add(loop, disambig[0], word_disambig, 0.0, loop)
    kaldifst.arcsort(fst, "olabel")
    return fst
