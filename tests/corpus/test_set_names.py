"""Names of sets, and which of them chooses the scoring weights of which."""

import pytest

from asr_parallel.corpus.set_names import evaluation_sets, parse_sets, report_order

LIBRISPEECH = "dev_clean dev_other test_clean:dev_clean test_other:dev_other"


def test_the_first_set_chooses_the_weights_of_the_others():
    sets = parse_sets("  tune clean\tnoisy ")
    assert sets == {"tune": "tune", "clean": "tune", "noisy": "tune"}
    assert evaluation_sets(sets) == {"tune": ["clean", "noisy"]}
    assert report_order(sets) == ["clean", "noisy", "tune"]


def test_a_set_may_name_its_own_tuning_set():
    sets = parse_sets(LIBRISPEECH)
    assert evaluation_sets(sets) == {"dev_clean": ["test_clean"], "dev_other": ["test_other"]}
    assert report_order(sets) == ["test_clean", "test_other", "dev_clean", "dev_other"]


def test_a_set_may_come_before_its_tuning_set_or_choose_its_own_weights():
    assert parse_sets("eval:dev dev other:other") == {"eval": "dev", "dev": "dev", "other": "other"}
    assert evaluation_sets(parse_sets("dev")) == {"dev": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the name of at least one set"),
        ("dev a/b", "set 'a/b': expected letters"),
        ("dev :dev", "set '': expected letters"),
        ("dev train", "set 'train': expected letters"),
        ("dev eval eval:dev", "set 'eval': named twice"),
        ("dev eval:other", "eval:other: the tuning set 'other' is not among the sets"),
        ("dev eval:", "the tuning set '' is not among the sets"),
        ("dev a:dev b:a", "b:a: the tuning set 'a' gets its own weights from 'dev'"),
    ],
)
def test_bad_names_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_sets(text)
