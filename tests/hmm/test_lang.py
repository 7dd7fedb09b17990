"""The lang folder and its transducers."""

import itertools
import math
from pathlib import Path

import kaldifst
import pytest

from asr_parallel.corpus.lexicon import add_noise_words, read_lexicon
from asr_parallel.hmm.lang import Lang, build_lang
from asr_parallel.hmm.lexicon_fst import disambiguation_numbers

DIGITS = Path(__file__).parents[2] / "local" / "digits" / "lexicon.txt"
# see/sea are homophones, "a" starts "at" and "i" is a variant
LEXICON = {
    "a": [(1.0, ("ey",)), (0.5, ("ah",))],
    "at": [(1.0, ("ah", "t"))],
    "sea": [(1.0, ("s", "iy"))],
    "see": [(1.0, ("s", "iy"))],
}


@pytest.fixture(scope="module")
def lang(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a folder") / "lang"
    build_lang(folder, add_noise_words(LEXICON, ["[noise]"]))
    return Lang.open(folder)


def best_cost(fst, phones, words):
    """Cost of the best path that reads `phones` and writes `words`; inf when there is none."""
    left = kaldifst.make_linear_acceptor(phones)
    kaldifst.arcsort(fst, "ilabel")
    composed = kaldifst.compose(left, fst)
    kaldifst.arcsort(composed, "olabel")
    composed = kaldifst.compose(composed, kaldifst.make_linear_acceptor(words))
    if composed.start < 0:
        return math.inf
    best = kaldifst.shortest_path(composed)
    ok, _, _, weight = kaldifst.get_linear_symbol_sequence(best)
    assert ok
    return weight.value


def test_disambiguation_of_homophones_and_prefixes():
    # as utils/add_lex_disambig.pl numbers them: both homophones, and what is a prefix of another
    assert disambiguation_numbers([(1,), (1, 2), (3, 4), (3, 4), (5,), (1,)]) == [1, 0, 1, 2, 0, 2]


def test_tables(lang):
    assert list(lang.phones)[:5] == ["<eps>", "sil", "spn", "nsn", "ah"]
    assert list(lang.phones)[-4:] == ["#0", "#1", "#2", "#3"]
    assert list(lang.phones.values()) == list(range(len(lang.phones)))
    assert list(lang.words) == ["<eps>", "<unk>", "[noise]", "a", "at", "sea", "see", "#0", "<s>", "</s>"]
    assert lang.silence_phones == [1, 2, 3]
    assert lang.optional_silence == 1
    assert len(lang.nonsilence_phones) == 5
    assert lang.disambig_phones == [lang.phones[f"#{n}"] for n in range(4)]
    assert lang.lexicon["a"] == [(1.0, (lang.phones["ey"],)), (0.5, (lang.phones["ah"],))]
    assert lang.word_ids("see zebra <s> [noise]") == [6, 1, 1, 2]


def test_arcs_are_sorted_by_olabel(lang):
    for name in ("L.fst", "L_disambig.fst"):
        assert kaldifst.StdVectorFst.read(str(lang.folder / name)).is_olabel_sorted


def test_lexicon_fst_accepts_every_word_with_and_without_silence(lang):
    fst = kaldifst.StdVectorFst.read(str(lang.folder / "L.fst"))
    sil = lang.optional_silence
    for word, variants in lang.lexicon.items():
        for probability, phones in variants:
            for before, after in itertools.product([[], [sil]], repeat=2):
                cost = best_cost(fst, [*before, *phones, *after], [lang.words[word]])
                assert cost == pytest.approx(2 * math.log(2) - math.log(probability), abs=1e-5)


def test_lexicon_fst_puts_silence_between_words_and_knows_no_other_word(lang):
    fst = kaldifst.StdVectorFst.read(str(lang.folder / "L.fst"))
    sea, a, sil = [*lang.lexicon["sea"][0][1]], [*lang.lexicon["a"][0][1]], lang.optional_silence
    words = lang.word_ids("sea a")
    assert best_cost(fst, sea + a, words) == pytest.approx(3 * math.log(2), abs=1e-5)
    assert best_cost(fst, [*sea, sil, *a], words) == pytest.approx(3 * math.log(2), abs=1e-5)
    assert best_cost(fst, [*sea, sil, sil, *a], words) == math.inf
    assert best_cost(fst, sea, lang.word_ids("a")) == math.inf


@pytest.mark.timeout(60)
def test_lexicon_fst_with_symbols_is_determinizable(lang):
    fst = kaldifst.StdVectorFst.read(str(lang.folder / "L_disambig.fst"))
    assert kaldifst.determinize_star(fst, max_states=10_000) is False  # False: ended, not stopped by max_states
    for state in kaldifst.StateIterator(fst):
        labels = [arc.ilabel for arc in kaldifst.ArcIterator(fst, state)]
        assert len(labels) == len(set(labels))


def test_backoff_symbol_passes_through_lexicon_fst(lang):
    fst = kaldifst.StdVectorFst.read(str(lang.folder / "L_disambig.fst"))
    zero, word_zero = lang.disambig_phones[0], lang.words["#0"]
    ey = lang.lexicon["a"][0][1][0]
    assert best_cost(fst, [zero, ey, zero], [word_zero, lang.words["a"], word_zero]) < math.inf


def test_digits_need_no_symbol_but_those_of_backoff_and_silence(tmp_path):
    build_lang(tmp_path, add_noise_words(read_lexicon(DIGITS), []))
    lang = Lang.open(tmp_path)
    assert [name for name in lang.phones if name.startswith("#")] == ["#0", "#1"]
    assert [lang.phones["sil"], lang.phones["spn"]] == lang.silence_phones
    assert read_lexicon(tmp_path / "lexiconp.txt").keys() == lang.lexicon.keys()


def test_not_a_lang_folder(tmp_path):
    with pytest.raises(ValueError, match="made by stage 1"):
        Lang.open(tmp_path)
