"""Lexicon files in, lexicon files out, and what is refused."""

from collections import Counter
from pathlib import Path

import pytest

from asr_parallel.corpus.lexicon import (
    add_noise_words,
    estimate_probabilities,
    out_of_vocabulary,
    read_lexicon,
    read_lexiconp,
    write_lexicon,
    write_oov_words,
)
from asr_parallel.record.log import logger

DIGITS = Path(__file__).parents[2] / "local" / "digits" / "lexicon.txt"


def written(tmp_path, text, name="lexicon.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ms_state_dictionary_comments_case_and_repeated_lines(tmp_path):
    path = written(tmp_path, "#\n# MS-State\nHello hh ax l ow\nhello hh eh l ow\nhello hh ax l ow\n\na ey\n")
    assert read_lexicon(path, ms_state=True) == {
        "hello": [(1.0, ("hh", "ax", "l", "ow")), (1.0, ("hh", "eh", "l", "ow"))],
        "a": [(1.0, ("ey",))],
    }


def test_ms_state_words_are_mapped_as_the_transcripts_are(tmp_path):
    lines = ["ab[solute]- ae b", "them_1 eh m", "them dh eh m", "{yuppiedom} y ah p", "[silence] sil", "[noise] sil"]
    assert read_lexicon(written(tmp_path, "\n".join(lines)), ms_state=True) == {
        "ab-": [(1.0, ("ae", "b"))],
        "them": [(1.0, ("eh", "m")), (1.0, ("dh", "eh", "m"))],
        "yuppiedom": [(1.0, ("y", "ah", "p"))],
    }


def test_probabilities_are_recognised_and_survive_a_round_trip(tmp_path):
    path = written(tmp_path, "b 1.0 b iy\na 0.5 ey\na 1.0 ey\na 0.25 ah\na 0.1 ah\n!SIL 1 SIL\n")
    lexicon = read_lexicon(path)
    assert lexicon["a"] == [(1.0, ("ey",)), (0.25, ("ah",))]  # of a repeated line the likelier
    assert lexicon["!SIL"] == [(1.0, ("sil",))]  # silence phones in any case
    write_lexicon(tmp_path / "lexiconp.txt", lexicon)
    assert read_lexicon(tmp_path / "lexiconp.txt") == lexicon
    assert (tmp_path / "lexiconp.txt").read_text().startswith("!SIL 1 sil\na 1 ey\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a ey\nb\n", "line 2: the word 'b' has no phones"),
        ("<s> ey\n", "'<s>' is reserved"),
        ("a ey #1\n", "'#1' is reserved"),
        ("a 1.5 ey\n", "probability 1.5"),
        ("# nothing\n", "holds no word"),
    ],
)
def test_bad_lexicon_is_one_clear_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read_lexicon(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_cmudict_and_sphinx_as_they_are(tmp_path):
    lines = [
        "\ufeff;;; # CMUdict  --  Major Version: 0.07",
        "NO  N OW1",
        "NO(1)  N AH0",
        "NO(2)  N AH0",
        "aalborg AO1 L B AO0 R G # place, danish",
        "#HASHTAG HH AE1 SH T AE2 G",
        "##",
        "# a comment",
        ";SEMI-COLON  S EH1 M IY0",
        "(2) T UW1",
    ]
    assert read_lexicon(written(tmp_path, "\r\n".join(lines))) == {
        "NO": [(1.0, ("N", "OW1")), (1.0, ("N", "AH0"))],
        "aalborg": [(1.0, ("AO1", "L", "B", "AO0", "R", "G"))],
        "#HASHTAG": [(1.0, ("HH", "AE1", "SH", "T", "AE2", "G"))],
        ";SEMI-COLON": [(1.0, ("S", "EH1", "M", "IY0"))],
        "(2)": [(1.0, ("T", "UW1"))],
    }


MFA = "YES\t1.0\t0.42\t1.03\t0.88\tY EH1 S\nNO\t0.99\t0.17\t0.95\t1.21\tN OW1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MFA, "line 1: '0.42' of 'YES' is a number, not a phone"),
        ("YES 1.0 Y S\nNO 0.99 N OW1\nNO 0.2 N AH0\nMAYBE M EY1\n", "line 4: 'MAYBE M EY1' has no number"),
        ("YES Y S\nNO N OW1\nNO 0.2 N AH0\n", "line 3: 'NO 0.2 N AH0' has a number"),
        ("YES 1 Y S\nMAYBE M EY1\n", "line 2: 'MAYBE M EY1' has no number"),
        ("YES 0001 0002 0003\nNO 0001 0005\n", "line 1: '0002' of 'YES' is a number"),
        ("YES 1 2 3\nNO 1 5\n", "line 1: '2' of 'YES' is a number"),
        ("YES Y EH1 S 3\nNO N OW1 5\n", "line 1: '3' of 'YES' is a number"),
        ("YES Y EH1 S\nNO N 1e-05 OW1\n", "line 2: '1e-05' of 'NO' is a number"),
        ("YES 12 Y EH1 S\nNO 3 N OW1\n", "line 1: probability 12.0"),
        ("YES 1.0\nNO 1.0\n", "line 1: '1.0' of 'YES' is a number"),
        ("YES 0,99 Y EH1 S\nNO 1,0 N OW1\n", "line 1: '0,99' of 'YES' is a number"),
        ("YES 99% Y EH1 S\nNO N OW1\n", "line 2: 'NO N OW1' has no number"),
        ("#0 Y\n", "line 1: '#0' is reserved"),
        ("#12 Y\n", "line 1: '#12' is reserved"),
    ],
)
def test_other_columns_are_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read_lexicon(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_digits_that_are_phones(tmp_path):
    """French in SAMPA, and Mandarin with its tones apart."""
    french = read_lexicon(written(tmp_path, "deux d 2\neux 2\nneuf n 9 f\n"))
    assert french["eux"] == [(1.0, ("2",))] and french["neuf"] == [(1.0, ("n", "9", "f"))]
    assert read_lexicon(written(tmp_path, "deux 1.0 d 2\neux 0.5 2\nneuf 1 n 9 f\n"))["eux"] == [(0.5, ("2",))]
    assert read_lexicon(written(tmp_path, "nihao n i 3 h ao 3\n"))["nihao"] == [(1.0, ("n", "i", "3", "h", "ao", "3"))]


def test_what_looks_like_a_variant_is_kept_in_our_own_file(tmp_path):
    lexicon = {"a(2)": [(1.0, ("ey",))], "#x": [(0.5, ("1", "2"))], ";;;": [(1.0, ("k",))]}
    write_lexicon(tmp_path / "lexiconp.txt", lexicon)
    assert read_lexiconp(tmp_path / "lexiconp.txt") == lexicon
    with pytest.raises(ValueError, match="line 1: expected 'word probability phone"):
        read_lexiconp(written(tmp_path, "a ey\n"))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("cafe\u0301", "1 of them are there with another Unicode form"),
        ("ca\u200bf\u00e9", "1 of them are there with invisible characters"),
        ("CAF\u00c9", "1 of them are there with another letter case"),
        ("coffee", None),
    ],
)
def test_words_that_look_alike_are_said(tmp_path, word, hint, caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    write_oov_words(tmp_path / "oov.txt", Counter({"a": 1, word: 1}), {"a": [], "caf\u00e9": []})
    assert (hint or "listed in oov.txt\n") in caplog.text and ("of them" in caplog.text) is bool(hint)
    if hint:
        with pytest.raises(ValueError, match=hint):
            write_oov_words(tmp_path / "oov.txt", Counter({word: 1}), {"caf\u00e9": []})


def test_missing_and_non_utf8_lexicon(tmp_path):
    with pytest.raises(ValueError, match="no such lexicon"):
        read_lexicon(tmp_path / "none")
    (tmp_path / "latin1").write_bytes(b"a ey\ncaf\xe9 k ae f ey\n")
    with pytest.raises(ValueError, match="line 2 is not valid UTF-8"):
        read_lexicon(tmp_path / "latin1")


def test_the_lexicon_of_digits_has_ten_words():
    assert " ".join(read_lexicon(DIGITS)) == "zero one two three four five six seven eight nine"


def test_only_noises_of_the_text_are_added():
    lexicon = add_noise_words({"a": [(1.0, ("ey",))]}, ["a", "[laughter]"])
    assert lexicon["[laughter]"] == [(1.0, ("lau",))]
    assert lexicon["<unk>"] == [(1.0, ("spn",))]
    assert "[noise]" not in lexicon


def test_oov_words_are_listed_most_frequent_first(tmp_path):
    counts = Counter({"a": 5, "zebra": 1, "yak": 3, "bee": 1})
    lexicon = {"a": [(1.0, ("ey",))]}
    assert out_of_vocabulary(counts, lexicon) == [("yak", 3), ("bee", 1), ("zebra", 1)]
    write_oov_words(tmp_path / "oov_words.txt", counts, lexicon)
    assert (tmp_path / "oov_words.txt").read_text() == "yak 3\nbee 1\nzebra 1\n"


def test_lexicon_of_another_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the text's words"):
        write_oov_words(tmp_path / "oov_words.txt", Counter({"A": 5, "B": 1}), {"a": []})


def test_probabilities_from_counts_are_smoothed_and_max_normalised():
    lexicon = {"a": [(1.0, ("ey",)), (1.0, ("ah",))], "b": [(1.0, ("b",))]}
    counts = {("a", ("ey",)): 1, ("a", ("ah",)): 7}
    assert estimate_probabilities(lexicon, counts) == {"a": [(0.25, ("ey",)), (1.0, ("ah",))], "b": [(1.0, ("b",))]}
