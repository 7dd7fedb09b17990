"""trn, ctm and stm files."""

import pytest

from asr_parallel.corpus.nist_files import (
    CtmWord,
    StmSegment,
    canonical_channel,
    read_ctm,
    read_stm,
    stm_channel,
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
    "label", ["", "<>", "<NA>", "<o>", "<o,f0,female>", "<O,en,F,en-F>", "<o, f0, male>", "<,,>", "<b_aside>"]
)
@pytest.mark.parametrize("channel", ["A", "1", "a"])
def test_labels_are_no_words_and_channels_have_one_name(tmp_path, label, channel):
    path = tmp_path / "ref.stm"
    path.write_text(f";; a comment\nrec {channel} spk 0.00 6.32 {label}  NO <unk> YES\nrec {channel} spk 7 8 {label}\n")
    assert read_stm(path) == [
        StmSegment("rec", "A", "spk", 0.0, 6.32, "NO <unk> YES"),
        StmSegment("rec", "A", "spk", 7.0, 8.0, ""),
    ]


def test_channels_1_and_2_are_a_and_b(tmp_path):
    assert [canonical_channel(name) for name in ("1", "2", "A", "B", "b", "0", "mic1")] == [*"ABABB0", "mic1"]
    (tmp_path / "a.ctm").write_text("rec 2 0.5 0.25 hi\n")
    assert [w.channel for w in read_ctm(tmp_path / "a.ctm")] == ["B"]
    assert stm_channel("r1", 0, {"r1": ("call", "B")}) == ("call", "B")
    assert stm_channel("r1", 1, {"r1": ("call", "A")}) == ("call", "B")
    assert stm_channel("r1", 1, {}) == ("r1", "B")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("en_1 A spk 1.0\n", "line 1: expected"),
        ("en_1 A spk one two hi\n", "line 1: expected"),
        (";; x\n\nen_1 A spk nan 2 hi\n", "line 3: expected 'recording channel speaker start end"),
        ("en_1 A spk 1 inf hi\n", "line 1: expected"),
        ("en_1 A spk -1 2 hi\n", "line 1: expected"),
        (
            "en_1 A spk 0 1 a\nen_1 A spk 1 2 { we're / we are\n",
            "line 2: a { without its } in .*; expected alternatives",
        ),
        ("en_1 A spk 1 2 <o> we're } now\n", "line 1: a } without its {"),
        ("en_1 A spk 1 2 { a / { b / c }\n", "line 1: a { without its }"),
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
