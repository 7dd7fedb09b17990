"""One rule for both sides: what was recognised perfectly has no errors, whatever it is made of."""

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_parallel.corpus.datadir import Utterance
from asr_parallel.corpus.nist_files import StmSegment
from asr_parallel.decode.edit_distance import Counts, total
from asr_parallel.decode.hypotheses import WordTime
from asr_parallel.decode.reference import Reference
from asr_parallel.decode.sclite import find_tool
from asr_parallel.decode.scored_words import HESITATIONS, UNSCORED, is_scored, mark_unscored_optional, scored_words
from asr_parallel.decode.scoring import write_scoring
from asr_parallel.record.files import read_json

WORDS = ["yes", "No", "uh-huh", "well-known", "-ing", "CAFÉ", "ОДИН", "你好", "i'm"]
SPECIAL = sorted(UNSCORED) + sorted(HESITATIONS) + ["th-", "Ab-"]
CASES = (str.lower, str.upper, str.capitalize, str.title, str.swapcase)
FORMS = [*CASES, lambda word: unicodedata.normalize("NFD", word)]

token = st.builds(
    lambda word, said, recognized: (said(word), recognized(word)),
    st.sampled_from(WORDS + SPECIAL),
    *[st.sampled_from(FORMS)] * 2,
)
transcripts = st.lists(st.lists(token, max_size=8), min_size=1, max_size=4)


def made_of(tokens, hub5):
    """A reference of one recording, a second each utterance, and a perfect recognition, in another spelling."""
    utterances, segments, recognized = [], [], {}
    for n, pairs in enumerate(tokens):
        text = " ".join(said for said, _ in pairs)
        utterances.append(Utterance(f"u{n}", "rec", Path("x.wav"), 0, float(n), 1.0, "spk", text))
        segments.append(StmSegment("rec", "A", "spk", float(n), n + 1.0, mark_unscored_optional(text)))
        recognized[f"u{n}"] = [WordTime(word, k / len(pairs), 0.01) for k, (_, word) in enumerate(pairs)]
    return Reference(utterances, segments if hub5 else [], None), recognized


@pytest.mark.parametrize("units", ["word", "char"])
@pytest.mark.parametrize("hub5", [False, True])
@settings(max_examples=100, deadline=None)
@given(tokens=transcripts)
def test_a_perfect_hypothesis_has_no_errors(hub5, units, tokens):
    reference, recognized = made_of(tokens, hub5)
    assert total(s.counts for s in reference.score(recognized, units)).errors == 0
    assert total(a.counts for a in reference.align(recognized, units)).errors == 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("word", SPECIAL)
def test_every_special_word_in_every_case_is_taken_out_of_both_sides(word, case):
    for other in CASES:
        reference, recognized = made_of([[("one", "One"), (case(word), other(word)), ("two", "two")]], hub5=True)
        assert total(s.counts for s in reference.score(recognized)).errors == 0
        # that it was not recognized, or recognized in silence, is no error either
        reference, recognized = made_of(
            [[("one", "one"), (case(word), "")], [("", other(word)), ("two", "two")]], hub5=True
        )
        recognized = {i: [w for w in words if w.word] for i, words in recognized.items()}
        assert total(s.counts for s in reference.score(recognized)).errors == 0
    assert is_scored(case(word)) == (word not in UNSCORED)


def test_noises_and_unknown_words_count_nowhere_by_the_plain_rules():
    reference, recognized = made_of([[("[NOISE]", "[noise]"), ("<UNK>", "<unk>"), ("Yes", "yes")]], hub5=False)
    assert [s.counts for s in reference.score(recognized)] == [Counts(correct=1)]
    assert scored_words(["%HESITATION", "[silence]", "[Laughter]", "[VOCALIZED-NOISE]", "uh"]) == ("uh",)


def test_letters_that_are_no_case_of_each_other_stay_apart():
    for hub5 in (False, True):
        reference, recognized = made_of([[("Maße", "Masse"), ("ısı", "isi"), ("Maße", "maße")]], hub5)
        assert [s.counts for s in reference.score(recognized)] == [Counts(correct=1, sub=2)]


def test_a_hub5_reference_marks_what_the_hypothesis_cannot_have():
    assert mark_unscored_optional("yes [NOISE] No") == "yes ([noise]) no"
    assert mark_unscored_optional("UH HUH yes th- (uh) {um / yeah}") == "(uh huh) yes (th-) (uh) { (um) / yeah }"
    assert mark_unscored_optional("(well uh) uh") == "(well uh) (uh)"
    assert mark_unscored_optional("IGNORE_TIME_SEGMENT_IN_SCORING") == "IGNORE_TIME_SEGMENT_IN_SCORING"


@pytest.mark.skipif(find_tool("sclite") is None, reason="sclite is not installed (Debian: sctk)")
@pytest.mark.parametrize(("hub5", "units"), [(False, "word"), (False, "char"), (True, "word")])
def test_sclite_counts_the_written_files_alike(tmp_path, hub5, units):
    rng = random.Random(1)
    said = [[rng.choice(WORDS + SPECIAL) for _ in range(rng.randint(0, 8))] for _ in range(60)]
    recognized = [[rng.choice(FORMS)(rng.choice(WORDS) if rng.random() < 0.2 else w) for w in words] for words in said]
    for wrong in (False, True):
        pairs = [
            [(rng.choice(FORMS)(w), h if wrong else rng.choice(FORMS)(w)) for w, h in zip(ws, hs, strict=True)]
            for ws, hs in zip(said, recognized, strict=True)
        ]
        reference, hypothesis = made_of(pairs, hub5)
        counts = write_scoring(tmp_path, "exp", reference, hypothesis, (7, 0.0), units=units)
        assert (counts.errors > 0) == wrong
        for rate in {"wer", "wer" if units == "word" else "cer"}:
            record = read_json(tmp_path / f"{rate}.json")
            assert record["sclite"] == {key: record[key] for key in record["sclite"]}
