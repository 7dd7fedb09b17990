"""Lexicon files in, lexicon files out, and what is refused."""

from collections import Counter

import pytest

from asr_parallel.corpus.lexicon import (
    add_noise_words,
    digits_lexicon,
    estimate_probabilities,
    out_of_vocabulary,
    read_lexicon,
    write_lexicon,
    write_oov_words,
)


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
    path = written(tmp_path, "b 1.0 b iy\na 1.0 ey\na 0.25 ah\n!SIL 1 SIL\n")
    lexicon = read_lexicon(path)
    assert lexicon["a"] == [(1.0, ("ey",)), (0.25, ("ah",))]
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


def test_missing_and_non_utf8_lexicon(tmp_path):
    with pytest.raises(ValueError, match="no such lexicon"):
        read_lexicon(tmp_path / "none")
    (tmp_path / "latin1").write_bytes(b"a ey\ncaf\xe9 k ae f ey\n")
    with pytest.raises(ValueError, match="line 2 is not valid UTF-8"):
        read_lexicon(tmp_path / "latin1")


def test_digits_lexicon_has_ten_words():
    assert " ".join(digits_lexicon()) == "zero one two three four five six seven eight nine"


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
