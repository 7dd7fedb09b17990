"""The small-talk language and its tokens."""

import numpy as np
import pytest

from asr_parallel.corpus.synthetic.dictionary import dictionary, odd_spellings, plain_words
from asr_parallel.corpus.synthetic.language import draw_sentence, grammar, parse_grammar, split_of
from asr_parallel.corpus.synthetic.tokens import (
    SPECIAL_KINDS,
    SpecialTokens,
    partial_word,
    speak_naturally,
    word_ending,
)
from asr_parallel.corpus.synthetic.tones import spell

SMALL = """
[general]
sentence = $one $do:s $thing:pl | 3* $one $do:past a $thing:sg
one = he
[fruit]
do = eat/eats/ate
thing = apple/apples | pear/pears
    | fig/figs
"""


def test_forms_agree_and_articles_fit_the_next_word() -> None:
    language = parse_grammar(SMALL)
    rng = np.random.default_rng(0)
    said = {" ".join(language.sentence("fruit", rng)) for _ in range(300)}
    assert said == {
        *("he eats apples", "he eats pears", "he eats figs"),
        *("he ate an apple", "he ate a pear", "he ate a fig"),
    }


def test_weights_are_obeyed() -> None:
    rng = np.random.default_rng(0)
    language = parse_grammar(SMALL)
    past = sum("ate" in language.sentence("fruit", rng) for _ in range(2000)) / 2000
    assert past == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sentence = hello", "grammar line 1: expected"),
        ("[general]\nhello", "grammar line 2: expected"),
        ("[fruit]\na = b", "no \\[general\\] section"),
    ],
)
def test_a_broken_grammar_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_grammar(text)


def test_a_symbol_without_rule_is_named() -> None:
    language = parse_grammar("[general]\nsentence = $nothing\n[t]\nx = y")
    with pytest.raises(ValueError, match=r"\$nothing has no rule"):
        language.sentence("t", np.random.default_rng(0))


def test_the_language_is_as_large_as_it_should_be() -> None:
    assert 400 <= len(plain_words()) <= 1000
    assert len(grammar().topics) >= 6
    rng = np.random.default_rng(0)
    said = {word for topic in grammar().topics for _ in range(500) for word in draw_sentence(topic, "train", rng)}
    assert said <= set(plain_words())
    assert all(word.replace("'", "").isalpha() and word.islower() for word in said)


def test_no_longer_sentence_is_in_both_splits() -> None:
    rng = np.random.default_rng(1)
    topic = next(iter(grammar().topics))
    drawn = {split: {" ".join(draw_sentence(topic, split, rng)) for _ in range(1500)} for split in ("train", "eval")}  # type: ignore[arg-type]
    shared = drawn["train"] & drawn["eval"]
    assert all(len(sentence.split()) <= 4 for sentence in shared)
    assert len(drawn["eval"]) > 500  # and the evaluation has enough to say
    assert split_of(["that's", "true"]) is None


def test_a_deck_deals_every_kind_once_before_any_again() -> None:
    special_tokens = SpecialTokens(np.random.default_rng(0))
    assert sorted(special_tokens.draw() for _ in range(SpecialTokens.size())) == sorted(SPECIAL_KINDS)


def test_special_kinds_are_written_as_the_transcripts_write_them() -> None:
    assert partial_word("absolute", 2).written == "ab[solute]-" and partial_word("absolute", 2).reference == "ab-"
    assert word_ending("any", 1).written == "-[an]y" and word_ending("any", 1).share == pytest.approx(1 / 3)
    rng = np.random.default_rng(2)
    for special in SPECIAL_KINDS:
        tokens = speak_naturally(["it", "is", "a", "nice", "computer"], rng, 0.0, [special])
        plain = speak_naturally(["it", "is", "a", "nice", "computer"], rng, 0.0, [])
        assert any(not token.written.replace("'", "").isalpha() for token in tokens), special
        assert all(token.written == token.spoken == token.reference for token in plain)


def test_the_dictionary_cuts_the_pronunciation_of_broken_words() -> None:
    said = {word: [spell(word)] for word in [*plain_words(), *odd_spellings()]}
    entries = dictionary(said, [partial_word("weather", 4), word_ending("weather", 2)])
    assert entries["weather"] == [("w", "eh", "ae", "t", "hh", "eh", "r")]
    assert entries["weat[her]-"] == [("w", "eh", "ae", "t")]
    assert entries["-[weath]er"] == [("eh", "r")]
    with pytest.raises(ValueError, match="no pronunciation for"):
        dictionary({"weather": [("w",)]}, [])
