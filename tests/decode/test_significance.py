"""Confidence of word error rates: hand-made alignments, segments of two systems, bootstrap on simulated sets."""

import itertools
import json
import math

import numpy as np
import pytest

from asr_parallel.decode.alignments import ALIGNMENTS, AlignedUtterance, ScoredDecode, read_alignments, write_alignments
from asr_parallel.decode.edit_distance import Counts, align_steps
from asr_parallel.decode.matched_pairs import matched_pairs, segment_errors
from asr_parallel.decode.significance import bootstrap_rates, improvement, mapsswe, mean_interval, wer_interval
from asr_parallel.decode.word_network import parse_transcript
from asr_parallel.record.files import write_json

# (reference, hypothesis) of utterances; the speaker is what precedes the hyphen
GOOD = {"bob-1": ("a b c d", "a b c d"), "bob-2": ("e f", "e"), "eve-1": ("a b c", "a b c"), "kim-1": ("d", "d")}
BAD = {"bob-1": ("a b c d", "x b c"), "bob-2": ("e f", "e g f"), "eve-1": ("a b c", "c"), "kim-1": ("d", "d")}


def steps(reference, hypothesis):
    return align_steps(parse_transcript(reference), parse_transcript(hypothesis))


def scored(folder, texts, lmwt=9, rules="plain"):
    """A decode folder as scoring leaves it."""
    utterances = [
        AlignedUtterance(name, name.partition("-")[0], "rec", r, steps(r, h)) for name, (r, h) in texts.items()
    ]
    write_alignments(folder / "scoring" / ALIGNMENTS, utterances)
    write_json(folder / "scoring" / "wer.json", {"scorer": "asr-parallel", "rules": rules, "lmwt": lmwt, "wip": 0.5})
    return folder


def segments(reference, a, b, min_good=2):
    return segment_errors(steps(reference, a), steps(reference, b), min_good)


def test_counts_by_utterance_and_speaker(tmp_path):
    decode = ScoredDecode.open(scored(tmp_path, BAD))
    assert decode.per_utterance()["bob-2"] == Counts(correct=2, ins=1)
    assert decode.per_speaker() == {
        "bob": Counts(correct=4, sub=1, dele=1, ins=1),
        "eve": Counts(correct=1, dele=2),
        "kim": Counts(correct=1),
    }
    assert decode.counts == Counts(correct=6, sub=1, dele=3, ins=1)
    assert (decode.scorer, decode.lmwt, decode.wip) == ("asr-parallel plain", 9.0, 0.5)


def test_alignments_come_back_as_written(tmp_path):
    written = [
        AlignedUtterance(
            "u-1", "bob", "rec", "(uh) {we're / we are} ünder", steps("(uh) {we're / we are} ünder", "we are x y")
        ),
        AlignedUtterance("u-2", "bob", "rec", "", []),
    ]
    write_alignments(tmp_path / ALIGNMENTS, written)
    assert read_alignments(tmp_path / ALIGNMENTS) == written
    assert json.loads((tmp_path / ALIGNMENTS).read_text("utf-8").splitlines()[0])["steps"][:2] == [
        ["C", 1, "uh", ""],
        ["C", 3, "we", "we"],
    ]


@pytest.mark.parametrize("line", ["{", "[]", '{"name":"u"}', '{"steps":[["C",1,"a"]]}', '{"steps":[["X",1,"a","a"]]}'])
def test_a_broken_line_is_named(tmp_path, line):
    (tmp_path / ALIGNMENTS).write_text(line + "\n")
    with pytest.raises(ValueError, match=r"alignments.jsonl: line 1 is no alignment"):
        read_alignments(tmp_path / ALIGNMENTS)


def test_the_example_of_nist():
    # from NIST's page on the test: four segments between stretches of two words that both have right
    found = segments(
        "it was the best of times it was the worst of times it was",
        "its the best of times it is the worst of times or it was",
        "it was the best times it won the test of times it was",
    )
    assert found == [(2, 0), (0, 1), (1, 2), (1, 0)]
    mean, deviation, z, p = matched_pairs(found)
    assert (mean, deviation) == (0.25, 1.5)
    assert z == pytest.approx(1 / 3)
    assert p == pytest.approx(0.738883, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e f", "a b c d e y", [(1, 0), (0, 1)]),
        ("x b y d e f", "a b c d e f", [(2, 0)]),  # one good word does not part two segments
        ("a b x c d e f", "a y c d e f", [(1, 1)]),  # an insertion of one where the other errs
        ("x b z c d e f", "a b c d e f", [(2, 0)]),  # nor do two with an insertion between them
        ("a b c d e f", "a b c d e f g h", [(0, 2)]),  # behind the last word, whichever system it is
        ("", "a b c d e f", [(6, 0)]),
    ],
)
def test_segments(a, b, expected):
    reference = "a b c d e f"
    assert segments(reference, a, b) == expected
    assert segments(reference, b, a) == [(y, x) for x, y in expected]


def test_number_of_good_words_between_segments():
    assert [len(segments("a b c d e f", "x b c y e z", "a b c d e f", n)) for n in (1, 2, 3)] == [3, 2, 1]
    with pytest.raises(ValueError, match="min_good 0: expected a number from 1"):
        segments("a", "a", "a", 0)


def test_insertions_into_an_empty_reference():
    assert segments("", "x", "") == [(1, 0)]
    assert segments("", "", "") == []


def test_alternatives_keep_two_systems_together():
    # the systems take different alternatives, of unlike lengths, without an error; then each errs once
    reference = "a {we're / we are} b c d e f g"
    assert segments(reference, "a we're x c d e f g", "a we are b c d e y g") == [(1, 0), (0, 1)]
    assert segments(reference, "a we is b c d e f g", "a we're b c d e f g") == [(1, 0)]
    # a word that may be missing counts as right, be it there or not
    assert segments("x (uh) b c y", "z b c y", "x uh b c z") == [(1, 0), (0, 1)]


def test_no_difference(tmp_path):
    same = mapsswe(scored(tmp_path / "a", GOOD), scored(tmp_path / "b", GOOD))
    assert (same.mean, same.deviation, same.z, same.p, same.better) == (0.0, 0.0, 0.0, 1.0, None)
    assert same.segments == 1  # both err in it alike
    right = {name: (reference, reference) for name, (reference, _) in GOOD.items()}
    none = mapsswe(scored(tmp_path / "c", right), scored(tmp_path / "d", right))
    assert (none.segments, none.p, none.wer_a) == (0, 1.0, 0.0)


def test_mapsswe_is_symmetric_and_names_the_better_one(tmp_path):
    rng = np.random.default_rng(1)
    texts = {f"s{n}-1": " ".join(rng.choice(list("abcdefgh"), 12)) for n in range(60)}
    recognized = [
        {i: (t, " ".join("x" if rng.random() < rate else w for w in t.split())) for i, t in texts.items()}
        for rate in (0.05, 0.15)
    ]
    a, b = (
        scored(tmp_path / "a", recognized[0]),
        scored(tmp_path / "b", recognized[1], lmwt=11),
    )  # another weight is no obstacle
    there, back = mapsswe(a, b), mapsswe(b, a)
    assert (there.segments, there.p, there.mean, there.z) == (back.segments, back.p, -back.mean, -back.z)
    assert (there.better, back.better) == ("a", "b")
    assert there.p < 0.05
    assert there.scorer == "asr-parallel plain"
    better = improvement(b, a)
    assert better.difference == better.wer_b - better.wer_a < 0
    assert better.low < better.difference < better.high
    assert better.probability > 0.95
    assert better.probability + improvement(a, b).probability == pytest.approx(1.0)


def test_differences_that_are_all_alike_have_no_z():
    assert matched_pairs([(1, 0)] * 5) == (1.0, 0.0, 0.0, 1.0)  # as in sc_stats
    assert matched_pairs([(1, 0)]) == (1.0, 0.0, 0.0, 1.0)


def test_interval_of_a_decode(tmp_path):
    interval = wer_interval(scored(tmp_path, BAD))
    assert (interval.errors, interval.words, interval.wer) == (5, 10, 50.0)
    assert (interval.speakers, interval.resamples, interval.confidence) == (3, 10_000, 0.95)
    assert interval.scorer == "asr-parallel plain"
    # one time in 27 all three draws are kim, who has no error, and as often they are eve
    assert (interval.low, interval.high) == (0.0, pytest.approx(200 / 3))
    assert wer_interval(tmp_path) == interval
    assert wer_interval(tmp_path, seed=1).deviation != interval.deviation
    assert wer_interval(tmp_path, confidence=0.5).high < interval.high


def test_resampled_rates_have_the_moments_of_the_draw():
    # equal numbers of words: the rate is the mean of three speakers' rates, drawn with replacement
    speakers = {"a": Counts(correct=90, sub=10), "b": Counts(correct=80, dele=20), "c": Counts(correct=40, sub=60)}
    rates = bootstrap_rates([speakers], 100_000, seed=3)[0]
    assert rates.mean() == pytest.approx(30.0, abs=0.2)
    assert rates.std() == pytest.approx(np.std([10, 20, 60]) / math.sqrt(3), rel=0.01)


def test_chunks_and_pairs_draw_alike(monkeypatch):
    speakers = {f"s{n}": Counts(correct=50 + n, sub=n) for n in range(20)}
    whole = bootstrap_rates([speakers, speakers], 500, seed=1)
    assert (whole[0] == whole[1]).all()
    monkeypatch.setattr("asr_parallel.decode.significance.CHUNK_VALUES", 700)
    assert (bootstrap_rates([speakers], 500, seed=1)[0] == whole[0]).all()


def test_a_resample_without_words_has_no_rate(tmp_path):
    texts = {"bob-1": ("a b", "a"), "eve-1": ("", "x")}
    assert np.isnan(bootstrap_rates([ScoredDecode.open(scored(tmp_path, texts)).per_speaker()], 200, seed=0)).any()
    interval = wer_interval(tmp_path)
    assert (interval.low, interval.high) == (50.0, 100.0)


def test_the_interval_covers_the_true_rate():
    rng = np.random.default_rng(7)
    covered, trials = 0, 400
    for trial in range(trials):
        words = rng.integers(50, 150, size=40)
        errors = rng.binomial(words, rng.beta(4, 16, size=40))  # speakers differ; the true rate is 20 %
        speakers = {str(n): Counts(correct=w - e, sub=e) for n, (w, e) in enumerate(zip(words, errors, strict=True))}
        low, high = np.quantile(bootstrap_rates([speakers], 1000, seed=trial)[0], [0.025, 0.975])
        covered += low <= 20.0 <= high
    assert 0.91 <= covered / trials <= 0.97


def changed(texts, **others):
    return texts | {name.replace("_", "-"): value for name, value in others.items()}


@pytest.mark.parametrize(
    ("texts", "rules", "message"),
    [
        (changed(BAD, bob_1=("a b c", "a b c")), "plain", "utterance bob-1 has another text"),
        (changed(BAD, bob_3=("a", "a")), "plain", r"1 utterances are in one only \(bob-3"),
        (dict(reversed(BAD.items())), "plain", "the utterances are in another order"),
        (BAD, "hub5", "scored by asr-parallel plain and asr-parallel hub5"),
    ],
)
def test_other_references_are_refused(tmp_path, texts, rules, message):
    a, b = scored(tmp_path / "a", GOOD), scored(tmp_path / "b", texts, rules=rules)
    for compare in (mapsswe, improvement):
        with pytest.raises(ValueError, match=f"were not scored against the same reference: {message}") as error:
            compare(a, b)
        assert "\n" not in str(error.value)


def test_bad_folders_and_options_are_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match="not scored; expected"):
        wer_interval(tmp_path / "none")
    decode = scored(tmp_path / "old", GOOD)
    for options, message in (
        ({"resamples": 0}, "resamples 0: expected a number from 1"),
        ({"confidence": 95}, "confidence 95: expected a number between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            wer_interval(decode, **options)
    (decode / "scoring" / ALIGNMENTS).unlink()
    with pytest.raises(ValueError, match="scored without keeping alignments; run score again"):
        wer_interval(decode)
    with pytest.raises(ValueError, match="1 speaker; a bootstrap by speaker needs at least 2"):
        wer_interval(scored(tmp_path / "one", {"bob-1": ("a", "a"), "bob-2": ("a", "b")}))
    with pytest.raises(ValueError, match="the reference has no words"):
        wer_interval(scored(tmp_path / "empty", {"bob-1": ("", "a"), "eve-1": ("", "b")}))


def test_an_interval_over_seeds_is_that_of_one_where_there_is_one(tmp_path):
    folder = scored(tmp_path, BAD)
    counts = np.array([[(c.errors, c.words) for c in ScoredDecode.open(folder).per_speaker().values()]])
    alone = wer_interval(folder)
    assert mean_interval(counts) == (alone.low, alone.high)
    # Seeds alone: two speakers that are alike, three seeds of 10, 20 and 60 %, drawn with replacement
    seeds = np.array([[(wer, 100)] * 2 for wer in (10, 20, 60)])
    every = sorted(sum(three) / 3 for three in itertools.product((10, 20, 60), repeat=3))
    assert mean_interval(seeds) == pytest.approx((every[0], every[-1]))  # 1 in 27 each, more than 2.5 %
