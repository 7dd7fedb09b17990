"""ARPA files of other tools: what is read, what is left out for a lexicon, and what is refused in one line."""

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.corpus.arpa import clean_arpa, read_arpa
from asr_parallel.corpus.ngram import pack, perplexity, unpack
from asr_parallel.record.log import logger

PLAIN = """
\\data\\
ngram 1=5
ngram 2=6
ngram 3=2

\\1-grams:
-0.7\t</s>
-99\t<s>\t-0.3
-0.5\tYES\t-0.2
-0.5\tNO\t-0.2
-1.5\t<unk>\t-0.2

\\2-grams:
-0.3\t<s> YES\t-0.1
-0.3\t<s> NO
-0.4\tYES NO\t-0.3
-0.4\tNO YES
-0.6\tYES </s>
-0.6\tNO </s>

\\3-grams:
-0.2\t<s> YES NO
-0.1\tYES NO </s>

\\end\\
"""
LEXICON = ["YES", "NO", "<unk>"]


def replace(*pairs: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        return text

    return changed


@pytest.fixture
def clean(tmp_path: Path) -> Callable[..., tuple[str, list[int], dict[str, int]]]:
    def run(text: str | bytes, lexicon: list[str] = LEXICON) -> tuple[str, list[int], dict[str, int]]:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "own.arpa").write_bytes(data)
        counts, remarks = clean_arpa(tmp_path / "own.arpa", tmp_path / "clean.arpa", lexicon)
        return (tmp_path / "clean.arpa").read_text(encoding="utf-8"), counts, dict(remarks)

    return run


SAME = {
    "plain": PLAIN.encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "carriage returns": PLAIN.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.lstrip().encode(),
    "spaces for tabs": PLAIN.replace("\t", "  ").encode(),
    "text around": f"made by hand\n{PLAIN}afterwards\n".encode(),
    "capital marks": PLAIN.replace("<s>", "<S>").replace("</s>", "</S>").encode(),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_model_that_all_fits_is_kept_to_the_letter(clean: Callable, kind: str) -> None:
    assert clean(SAME[kind]) == (PLAIN, [5, 6, 2], {})


OUTSIDE = "n-grams left out with a word outside the lexicon"
CHANGED = {
    "zero probability": (
        replace("-99\t<s>", "-inf\t<s>", "-0.4\tNO YES", "-Infinity\tNO YES"),
        replace("-0.4\tNO YES", "-99\tNO YES"),
        {"numbers below -99 (log probability), raised to it": 2},
    ),
    "more than a float holds": (
        replace("-0.4\tNO YES", "-4e38\tNO YES"),
        replace("-0.4\tNO YES", "-99\tNO YES"),
        {"numbers below -99 (log probability), raised to it": 1},
    ),
    "zero backoff": (
        replace("\tNO\t-0.2", "\tNO\t-inf"),
        replace("\tNO\t-0.2", "\tNO\t-99"),
        {"numbers below -99 (backoff), raised to it": 1},
    ),
    "backoff in the highest order": (
        replace("-0.2\t<s> YES NO", "-0.2\t<s> YES NO\t0.0"),
        replace(),
        {"backoffs of the highest order left out, where none is used": 1},
    ),
    "capital unk": (replace("<unk>", "<UNK>"), replace(), {"n-grams with <UNK>, taken for <unk>": 1}),
    "eps": (
        replace("<unk>", "<eps>"),
        replace("-1.5\t<unk>\t-0.2\n", "", "1=5", "1=4"),
        {OUTSIDE: 1},
    ),
    "disambiguation symbol": (
        replace("<unk>", "#0", "-0.4\tNO YES", "-0.4\tNO #0"),
        replace("-1.5\t<unk>\t-0.2\n", "", "1=5", "1=4", "2=6", "2=5", "-0.4\tNO YES\n", ""),
        {OUTSIDE: 2},
    ),
    "no-break space in a word": (
        replace("<unk>", "NEW\u00a0YORK"),
        replace("-1.5\t<unk>\t-0.2\n", "", "1=5", "1=4"),
        {OUTSIDE: 1},
    ),
    "start inside": (
        replace("-0.4\tNO YES", "-0.4\tNO <s>"),
        replace("-0.4\tNO YES\n", "", "2=6", "2=5"),
        {"n-grams left out with <s> or </s> inside": 1},
    ),
    "no shorter n-gram": (
        replace("-0.3\t<s> YES\t-0.1\n", "", "2=6", "2=5"),
        replace("-0.3\t<s> YES\t-0.1\n", "", "2=6", "2=5", "-0.2\t<s> YES NO\n", "", "3=2", "3=1"),
        {"n-grams left out without the shorter n-gram that they continue": 1},
    ),
    "twice": (
        replace("-0.4\tNO YES", "-0.4\tNO YES\n-0.9\tNO YES", "2=6", "2=7"),
        replace(),
        {"n-grams left out that were there before": 1},
    ),
    "empty order": (
        replace("3=2", "3=0", "-0.2\t<s> YES NO\n-0.1\tYES NO </s>\n", ""),
        replace("3=2", "3=0", "-0.2\t<s> YES NO\n-0.1\tYES NO </s>\n", ""),
        {},
    ),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_what_cannot_be_used_is_left_out_and_counted(clean: Callable, kind: str) -> None:
    damage, expected, remarks = CHANGED[kind]
    text, counts, found = clean(damage(PLAIN))
    assert (text, found) == (expected(PLAIN), remarks)
    assert counts == [int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("ngram ")]


def test_unigrams_with_backoffs_alone(clean: Callable) -> None:
    unigrams = PLAIN.partition("\\2-grams:")[0].replace("ngram 2=6\nngram 3=2\n", "") + "\\end\\\n"
    text, counts, remarks = clean(unigrams)
    assert counts == [5] and "\t-0.2" not in text and "-99\t<s>\n" in text
    assert remarks == {"backoffs of the highest order left out, where none is used": 4}


def test_words_outside_the_lexicon_are_named(
    clean: Callable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING):
        _, counts, _ = clean(PLAIN, ["YES", "no", "<unk>"])
    assert counts == [4, 2, 0]
    assert "1 of its 3 words" in caplog.text and "1 of them are there with another letter case" in caplog.text


@pytest.mark.parametrize(
    ("lexicon", "message"),
    [
        (["yes", "no", "<unk>"], "another letter case, such as 'YES'"),
        (["oui", "non", "<unk>"], r"none of its words \('YES', ...\) is in the lexicon$"),
    ],
)
def test_a_model_that_shares_no_word_is_refused(clean: Callable, lexicon: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clean(PLAIN, lexicon)


def test_a_model_in_another_unicode_form_is_refused_by_name(clean: Callable) -> None:
    with pytest.raises(ValueError, match="1 of them are there with another Unicode form"):
        clean(PLAIN.replace("YES", "cafe\u0301"), ["caf\u00e9", "<unk>"])


BAD = {
    "nan": (replace("-0.5\tNO", "nan\tNO"), "line 11: .*the log probability nan is no number"),
    "backoff nan": (replace("NO\t-0.2", "NO\tnan"), "line 11: .*the backoff nan is no number"),
    "infinite": (replace("-0.5\tNO", "inf\tNO"), "line 11: .*the log probability inf is no number"),
    "above 0": (replace("-0.5\tNO", "0.5\tNO"), "line 11: .*the log probability 0.5 is above 0"),
    "decimal comma": (replace("-0.5\tNO", "-0,5\tNO"), "line 11: "),
    "too few columns": (replace("-0.4\tNO YES", "-0.4\tNO"), "line 18: .*expected a log probability, 2 words"),
    "too many columns": (replace("-0.4\tNO YES", "-0.4\tNO YES -1 -1"), "line 18: .*expected a log probability"),
    "no unigram": (replace("-0.4\tNO YES", "-0.4\tNO MAYBE"), "line 18: .*'MAYBE' is no unigram"),
    "count too high": (replace("2=6", "2=7"), "there are 6 2-grams, but the header promises 7"),
    "count too low": (replace("2=6", "2=5"), "there are 6 2-grams, but the header promises 5"),
    "order left out of the header": (replace("ngram 2=6\n", ""), "line 4: .*expected the number of 2-grams"),
    "order not in the header": (replace("ngram 3=2\n", ""), "line 21: .*expected the end"),
    "sections swapped": (replace("\\1-g", "\\x-g", "\\2-g", "\\1-g", "\\x-g", "\\2-g"), "line 7: .*expected 1-grams"),
    "section left out": (replace("\\2-grams:\n", ""), "line 14: .*expected a log probability, 1 word"),
    "cut": (lambda text: text[: text.index("\\end")], r"no \\end\\: cut short\?"),
    "no end of sentence": (replace("</s>", "STOP"), "there is no unigram </s>"),
    "not text": (lambda text: text.encode("utf-16"), "expected an ARPA file"),
    "not UTF-8": (lambda text: text.replace("NO", "N\xd3").encode("latin-1"), "line 11: "),
    "cut gzip": (lambda text: gzip.compress(text.encode())[:99], "damaged"),
    "no gzip": (lambda text: b"\x1f\x8b" + text.encode(), "damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_is_one_line(clean: Callable, tmp_path: Path, kind: str) -> None:
    damage, message = BAD[kind]
    with pytest.raises(ValueError, match=message) as error:
        clean(damage(PLAIN))
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{tmp_path / 'own.arpa'}: ")
    assert not (tmp_path / "clean.arpa").exists()


def test_rounding_above_0_is_no_fault(clean: Callable) -> None:
    assert "1e-09\tNO YES" in clean(PLAIN.replace("-0.4\tNO YES", "1e-09\tNO YES"))[0]


def test_the_words_of_a_text_are_all_that_its_perplexity_needs(tmp_path: Path) -> None:
    """Five-grams of 5,000 words: 65 bits, more than one machine integer holds."""
    words = [f"w{n}" for n in range(5000)]
    grams = {
        2: ["<s> w1\t-0.2", "w1 w2\t-0.1", "w2 w4999\t-0.3", "w4999 w1\t-0.4"],
        3: ["<s> w1 w2\t-0.2", "w1 w2 w4999", "w2 w4999 w1"],
        4: ["<s> w1 w2 w4999\t-0.5", "w1 w2 w4999 w1\t-0.3"],
        5: ["<s> w1 w2 w4999 w1", "w1 w2 w4999 w1 </s>"],
    }
    lines = ["\\data\\", "ngram 1=5002", *(f"ngram {k}={len(rows)}" for k, rows in grams.items()), "\\1-grams:"]
    lines += ["-99\t<s>\t-0.6", "-2\t</s>", *(f"{-3 - n / 5000}\t{word}\t-0.7" for n, word in enumerate(words))]
    for k, rows in grams.items():
        lines += [f"\\{k}-grams:", *(f"{-0.1 * (n + k):g}\t{row}" for n, row in enumerate(rows))]
    (tmp_path / "lm.arpa").write_text("\n".join([*lines, "\\end\\", ""]))
    text = [["w1", "w2", "w4999", "w1"], ["w4999", "oh", "w1", "w2", "w4999"], []]
    whole = perplexity(read_arpa(tmp_path / "lm.arpa"), text)
    few = read_arpa(tmp_path / "lm.arpa", {"w1", "w2", "w4999", "oh"})
    assert len(few.words) == 5 and perplexity(few, text) == whole
    five = -0.2 - 0.3 - 0.4 - 0.5 - 0.6  # the first sentence takes the first n-gram of each order, then "... </s>"
    oov = (-0.6 - 3.9998) + (-3.0002) + (-0.3) + (-0.4)
    stop = -0.7 - 2  # w4999 </s> backs off, the longer histories have backoffs of their own
    stop += -0.3  # of "w2 w4999"; "w1 w2 w4999" has none
    assert whole.log10_prob == pytest.approx(five + oov + stop - 0.6 - 2)


@pytest.mark.parametrize("k", [2, 5])
def test_long_ngrams_are_packed_exactly(k: int) -> None:
    ids = np.random.default_rng(0).integers(0, 1 << 17, (50, k))
    np.testing.assert_array_equal(unpack(pack(ids, 17), 17, k).astype(np.int64), ids)
    order = sorted(range(50), key=lambda i: ids[i].tolist())
    assert np.argsort(pack(ids, 17)).tolist() == order
