"""Kneser-Ney models: they are distributions, they survive ARPA, and a small one agrees with paper and pencil."""

import itertools
import math
import random

import kaldilm
import numpy as np
import pytest

from asr_parallel.corpus.arpa import read_arpa, write_arpa
from asr_parallel.corpus.kneser_ney import FALLBACK_DISCOUNTS, _discounts, estimate
from asr_parallel.corpus.ngram import perplexity, uniform_model, unpack

VOCABULARY = ["a", "b", "c", "d", "<unk>"]


def random_text(sentences=200, seed=7):
    """Sentences of a lopsided little language, so that all counts of counts occur."""
    rng = random.Random(seed)
    words = ["a"] * 40 + ["b"] * 20 + ["c"] * 8 + ["d"] * 2 + ["zebra"]
    return [rng.choices(words, k=rng.randint(1, 7)) for _ in range(sentences)]


def log10_p(model, *ngram):
    return float(model.log10_probs(np.array([[model.ids[word] for word in ngram]]))[0])


def total_probability(model, history):
    words = [i for i, word in enumerate(model.words) if word != "<s>"]
    return float((10.0 ** model.log10_probs(np.array([[*history, word] for word in words]))).sum())


def test_worked_example():
    # "a b", "a c": too little to estimate discounts, so 1/2 for counts of 1 and 1 for counts of 2.
    # unigrams (continuation counts a 1, b 1, c 1, </s> 2): gamma 1/2 over 4 words
    model = estimate([["a", "b"], ["a", "c"]], ["a", "b", "c"], order=2)
    for word in "abc":
        assert log10_p(model, word) == pytest.approx(math.log10(0.1 + 0.125))
    assert log10_p(model, "</s>") == pytest.approx(math.log10(0.2 + 0.125))
    assert log10_p(model, "<s>", "a") == pytest.approx(math.log10(0.5 + 0.5 * 0.225))
    assert log10_p(model, "a", "b") == pytest.approx(math.log10(0.25 + 0.5 * 0.225))
    assert log10_p(model, "b", "</s>") == pytest.approx(math.log10(0.5 + 0.5 * 0.325))
    assert log10_p(model, "a", "a") == pytest.approx(math.log10(0.5 * 0.225))


def test_discounts_by_chen_and_goodman():
    count = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 1])
    y = 10 / 18
    assert _discounts(count) == pytest.approx([0, y, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2])
    assert tuple(_discounts(np.array([1, 1, 5]))[1:]) == FALLBACK_DISCOUNTS
    assert tuple(_discounts(np.repeat([1, 2, 3, 4], [9, 1, 9, 1]))[1:]) == FALLBACK_DISCOUNTS  # D2 would be negative


@pytest.mark.parametrize(("order", "min_count"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1)])
def test_probabilities_sum_to_one_for_all_histories(order, min_count):
    model = estimate(random_text(), VOCABULARY, order, min_count)
    ids = range(len(model.words))
    for length in range(order):
        for history in itertools.product(ids, repeat=length):  # seen and unseen
            if model.ids["</s>"] not in history:
                assert total_probability(model, history) == pytest.approx(1.0, abs=1e-9)


def test_min_count_drops_only_rare_trigrams():
    full, small = (estimate(random_text(), VOCABULARY, 3, n) for n in (1, 2))
    assert len(small.keys[2]) < len(full.keys[2])
    assert [len(k) for k in small.keys[:2]] == [len(k) for k in full.keys[:2]]


def test_every_ngram_has_its_prefix_and_suffix():
    model = estimate(random_text(), VOCABULARY, 3)
    for k in (2, 3):
        shorter = {tuple(row) for row in unpack(model.keys[k - 2], model.bits, k - 1).tolist()}
        for row in unpack(model.keys[k - 1], model.bits, k).tolist():
            assert tuple(row[1:]) in shorter
            assert tuple(row[:-1]) in shorter


def test_arpa_round_trip(tmp_path):
    model = estimate(random_text(), VOCABULARY, 3)
    path = tmp_path / "a folder" / "lm.arpa"
    write_arpa(path, model)
    again = read_arpa(path)
    assert again.words == model.words
    for k in range(3):
        np.testing.assert_array_equal(again.keys[k], model.keys[k])
        np.testing.assert_allclose(again.log10_prob[k], model.log10_prob[k], atol=1e-5)
        np.testing.assert_allclose(again.log10_backoff[k], model.log10_backoff[k], atol=1e-5)


def test_kaldilm_reads_the_file_and_finds_the_same_probability(tmp_path):
    model = estimate(random_text(), VOCABULARY, 3)
    write_arpa(tmp_path / "lm.arpa", model)
    symbols = ["<eps>", *VOCABULARY, "#0", "<s>", "</s>"]
    (tmp_path / "words.txt").write_text("".join(f"{word} {i}\n" for i, word in enumerate(symbols)))
    text = kaldilm.arpa2fst(
        input_arpa=str(tmp_path / "lm.arpa"),
        disambig_symbol="#0",
        read_symbol_table=str(tmp_path / "words.txt"),
        max_order=3,
    )
    # one unigram sentence state at least, and an arc a word for p(word | <s>): the start state's
    arcs = [line.split() for line in text.splitlines() if len(line.split()) >= 4]
    start = arcs[0][0]
    cost = {symbols[int(a[2])]: float(a[4]) for a in arcs if a[0] == start and a[2] == a[3]}
    assert cost["a"] == pytest.approx(-math.log(10) * log10_p(model, "<s>", "a"), abs=1e-4)


def test_perplexity_counts_oovs_and_sentence_ends():
    model = uniform_model(["one", "two", "three"])
    assert 10 ** log10_p(model, "two") == pytest.approx(0.25)
    found = perplexity(model, [["one", "two"], ["oh", "three"], []])
    assert (found.sentences, found.words, found.oovs) == (3, 4, 1)
    assert found.perplexity == pytest.approx(4.0)


def test_perplexity_agrees_with_one_word_at_a_time():
    model = estimate(random_text(), VOCABULARY, 3)
    text = [["d", "d", "d"], ["a"], ["b", "c", "a", "a", "b"]]
    by_hand = 0.0
    for sentence in text:
        tokens = ["<s>", *sentence, "</s>"]
        for i in range(1, len(tokens)):
            by_hand += log10_p(model, *tokens[max(0, i - 2) : i + 1])
    assert perplexity(model, text).log10_prob == pytest.approx(by_hand)


def test_trigram_learns_structure():
    text = [["a", "b", "c"], ["c", "b", "a"]] * 30
    of_order = [perplexity(estimate(text, "abc", order), text).perplexity for order in (1, 2, 3)]
    assert of_order[0] > of_order[1] > of_order[2]


def test_unknown_words_need_unk():
    with pytest.raises(ValueError, match="'zebra' is not in the vocabulary"):
        estimate(random_text(), ["a", "b", "c", "d"], 2)
    with pytest.raises(ValueError, match="is empty"):
        estimate([[]], ["a"], 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "expected an ARPA file"),
        ("\\data\\\nngram 1=x\n", "line 2"),
        ("\\data\\\nngram 1=1\n\\1-grams:\n-1 a b c\n\\end\\\n", "line 4"),
        ("\\data\\\nngram 1=2\n\\1-grams:\n-1 <s>\n\\end\\\n", "no unigram </s>"),
        ("\\data\\\nngram 1=3\n\\1-grams:\n-1 <s>\n-1 </s>\n\\end\\\n", "promises 3"),
    ],
)
def test_bad_arpa_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "lm.arpa").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_arpa(tmp_path / "lm.arpa")
    assert "\n" not in str(error.value)
