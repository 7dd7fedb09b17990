"""Counting errors: hand-worked alignments in sclite's notation."""

import random

import pytest

from asr_parallel.decode.edit_distance import Counts, align, total
from asr_parallel.decode.word_network import in_units, literal_transcript, parse_transcript


def count(reference, hypothesis):
    return align(parse_transcript(reference), parse_transcript(hypothesis))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "correct", "sub", "ins", "dele"),
    [
        ("a b c", "a b c", 3, 0, 0, 0),
        ("a b c", "a x c", 2, 1, 0, 0),
        ("a b c", "a c", 2, 0, 0, 1),
        ("a c", "a b c", 2, 0, 1, 0),
        ("", "a b", 0, 0, 2, 0),
        ("a b", "", 0, 0, 0, 2),
        ("", "", 0, 0, 0, 0),
        ("Hello THERE", "hello there", 2, 0, 0, 0),
        # with weights 4, 3, 3 this is three matches with an insertion and a deletion (6), not four substitutions (16)
        ("a b c d", "x a b c", 3, 0, 1, 1),
        # a deletion and an insertion (6) are dearer than one substitution (4)
        ("a", "b", 0, 1, 0, 0),
    ],
)
def test_plain_words(reference, hypothesis, correct, sub, ins, dele):
    assert count(reference, hypothesis) == Counts(correct, sub, ins, dele)
    assert align(literal_transcript(reference.split()), literal_transcript(hypothesis.split())) == Counts(
        correct, sub, ins, dele
    )


def test_equal_costs_are_decided_as_sclite_does():
    # three substitutions cost 12, and so do two deletions, a match and two insertions, which are four errors
    assert count("a a b", "b c c") == Counts(sub=3)
    assert count("b c c", "a a b") == Counts(sub=3)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("i (uh) see", "i see", 0, 3),  # a missing optional word is correct
        ("i (uh) see", "i uh see", 0, 3),
        ("i (uh) see", "i no see", 1, 3),
        ("th- thing", "the thing", 0, 2),  # fragments match what they begin or end
        ("th- thing", "other thing", 1, 2),
        ("-ing", "sing", 0, 1),
        ("{ we're / we are } here", "we are here", 0, 3),
        ("{ we're / we are } here", "we're here", 0, 2),
        ("{ um / @ } yes", "yes", 0, 1),
        ("we are here", "{ we're / we are } here", 0, 3),
        ("{ we { 're / are } / { they / @ } } here", "we are here", 0, 3),  # alternatives inside alternatives
        ("{ we { 're / are } / { they / @ } } here", "we 're here", 0, 3),
        ("{ we { 're / are } / { they / @ } } here", "here", 0, 1),
        ("{ we { 're / are } / { they / @ } } here", "they are here", 1, 2),
        ("{ { / } / { yes } } / no", "yes / no", 0, 3),
    ],
)
def test_notation(reference, hypothesis, errors, words):
    counts = count(reference, hypothesis)
    assert (counts.errors, counts.words) == (errors, words)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "characters"),
    [
        ("i (uh) see", "i see", 0, 4),  # a missing optional word does not count
        ("i (uh) see", "i uh see", 0, 6),
        ("i (uh) see", "i u see", 1, 4),
        ("(%hesitation) (uh) { [noise] / yes }", "yes", 0, 3),  # cheaper than to look for y, e and s in the first word
        ("{ (uh) / yes } (no)", "", 0, 0),
        ("{ we're / we are } here", "we are here", 0, 9),
    ],
)
def test_notation_in_characters(reference, hypothesis, errors, characters):
    counts = align(*(in_units(parse_transcript(text), "char") for text in (reference, hypothesis)))
    assert (counts.errors, counts.words) == (errors, characters)


def test_literal_words_have_no_notation():
    counts = align(literal_transcript(["(uh)", "th-"]), literal_transcript(["the"]))
    assert counts == Counts(correct=0, sub=1, ins=0, dele=1)


@pytest.mark.parametrize("text", ["a { b / c", "a } b", "{ a / { b / c }", "{ a / b } }"])
def test_bad_braces_are_refused(text):
    with pytest.raises(ValueError, match="transcript"):
        parse_transcript(text)


def test_counts_add_up_to_both_lengths():
    rng = random.Random(3)
    for _ in range(200):
        a, b = (rng.choices("abc", k=rng.randint(0, 9)) for _ in range(2))
        counts = align(literal_transcript(a), literal_transcript(b))
        assert counts.words == len(a)
        assert counts.correct + counts.sub + counts.ins == len(b)


def test_sums_and_rates():
    both = total([Counts(8, 1, 0, 1), Counts(9, 0, 1, 1)])
    assert (both.words, both.errors, both.wer) == (20, 4, pytest.approx(20.0))
    assert Counts().wer == 0.0
    assert Counts(ins=1).wer == float("inf")
