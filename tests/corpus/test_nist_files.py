"""trn, ctm and stm files."""

import pytest

from asr_parallel.corpus.nist_files import (
    CtmWord,
    StmSegment,
    read_ctm,
    read_stm,
    write_ctm,
    write_stm,
    write_trn,
)


def test_trn_puts_the_speaker_before_the_first_hyphen(tmp_path):
    write_trn(tmp_path / "a.trn", {"sw1-A_1": "hi there", "u2": ""}, {"sw1-A_1": "sw1-A", "u2": "bob"})
    assert (tmp_path / "a.trn").read_text() == "hi there (sw1.A-sw1-A_1)\n(bob-u2)\n"


def test_ctm_round_trip(tmp_path):
    words = [CtmWord("en_1", "A", 0.5, 0.25, "hi"), CtmWord("en_1", "B", 1.0, 0.1, "(uh)")]
    write_ctm(tmp_path / "a.ctm", words)
    assert (tmp_path / "a.ctm").read_text().startswith("en_1 A 0.500 0.250 hi\n")
    assert read_ctm(tmp_path / "a.ctm") == words
    (tmp_path / "b.ctm").write_text(";; comment\nen_1 A 0.5 0.25 hi 0.93\n")
    assert read_ctm(tmp_path / "b.ctm") == words[:1]


def test_stm_round_trip_and_repairs(tmp_path):
    path = tmp_path / "ref.stm"
    path.write_text(
        ';; LABEL "O" "Overall" "all"\n'
        "en_4156 A en_4156_A 357.64 359.64 <O,en,F,en-F>  HE IS ((UH) A <B_ASIDE> MAN <E_ASIDE>\n"
        "en_4156 B en_4156_B1 360 361 IGNORE_TIME_SEGMENT_IN_SCORING\n"
        "en_4156 B en_4156_B 362 363\n"
    )
    segments = read_stm(path)
    assert segments[0] == StmSegment("en_4156", "A", "en_4156_A", 357.64, 359.64, "HE IS (UH) A MAN")
    assert [s.ignored for s in segments] == [False, True, False]
    assert segments[2].text == ""
    write_stm(tmp_path / "again.stm", segments)
    assert read_stm(tmp_path / "again.stm") == segments


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en_1 A spk 1.0\n", "line 1: expected"),
        ("en_1 A spk one two hi\n", "line 1: expected"),
        ("en_1 A spk 2.0 1.0 hi\n", "ends .1.0. before it starts"),
        (";; nothing\n", "holds no segment"),
    ],
)
def test_bad_stm_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "ref.stm").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_stm(tmp_path / "ref.stm")
    assert "\n" not in str(error.value)


def test_bad_ctm_is_one_clear_line(tmp_path):
    (tmp_path / "a.ctm").write_text("en_1 A 0.5 hi\n")
    with pytest.raises(ValueError, match="line 1: expected 'recording channel start duration word'"):
        read_ctm(tmp_path / "a.ctm")
