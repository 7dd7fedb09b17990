"""A strict reader of ARPA files, one n-gram at a time (format: SRILM's ngram-format(5))."""

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr_parallel.corpus.ngram import LOG10_ZERO, SENTENCE_END, SENTENCE_START

# SRILM may write a log10 probability slightly above 0 (rounding); a larger one is refused
ROUNDING = 1e-3
CAPITAL_MARKS = {"<S>": SENTENCE_START, "</S>": SENTENCE_END}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ArpaFile:
    """The n-grams of an ARPA file, plain or gzipped. They are streamed: the file may be larger than memory.

    Iterating yields (order, words, log10 probability, log10 backoff or ""). The numbers are kept as written,
    except that a log10 probability of -inf becomes -99, as usual in ARPA files, and that backoff weights of the highest
    order, which are never used, are dropped.

    order: the highest order; valid once the header is read.
    remarks: description of a change -> number of n-grams changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remarks: Counter[str] = Counter()
        self._declared: list[int] = []  # number of n-grams of each order in the header

    @property
    def order(self) -> int:
        return len(self._declared)

    def __iter__(self) -> Iterator[tuple[int, list[str], str, str]]:
        """Read the file once.

        Raises:
            ValueError: not an ARPA file, a damaged one, a malformed line or number, counts that differ from the
                header's, no <s> or </s>.
        """
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such language model; expected an ARPA file")
        with self.path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        try:
            with gzip.open(self.path) if zipped else self.path.open("rb") as lines:
                yield from self._ngrams(lines)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{self.path}: damaged: {error}") from error

    def _ngrams(self, lines: Iterable[bytes]) -> Iterator[tuple[int, list[str], str, str]]:
        self.remarks.clear()
        self._declared.clear()
        k = -1  # -1 before \data\, 0 in the header, then the order of the section
        found = 0
        unigrams: set[str] = set()
        for n, line in enumerate(lines, 1):
            # split at ASCII whitespace only, as Kaldi does: other whitespace is part of a word
            fields = line.removeprefix(BYTE_ORDER_MARK if n == 1 else b"").split()
            if not fields or (k < 0 and fields != [b"\\data\\"]):
                continue
            try:
                if len(fields) > 1 and k > 0:
                    found += 1
                    yield self._ngram(k, fields, unigrams)
                elif fields[0] == b"ngram" and k == 0:
                    self._declare(b"".join(fields[1:]))
                elif fields == [b"\\data\\"] and k < 0:
                    k = 0
                else:
                    if k > 0:
                        self._check_section(k, found, unigrams)
                    if fields == [b"\\end\\"] and k == self.order:
                        return
                    if k == self.order or fields != [f"\\{k + 1}-grams:".encode()]:
                        raise ValueError(f"expected {'the end' if k == self.order else f'{k + 1}-grams'}")
                    k, found = k + 1, 0
            except ValueError as error:  # UnicodeDecodeError is one
                shown = line.decode("utf-8", "replace").strip()
                raise ValueError(
                    f"{self.path}: line {n}: {shown!r} does not belong in an ARPA file: {error}"
                ) from error
        raise ValueError(
            f"{self.path}: " + ("no \\data\\ ... \\end\\; expected an ARPA file" if k < 0 else "no \\end\\: cut short?")
        )

    def _declare(self, text: bytes) -> None:
        order, _, count = text.partition(b"=")
        if int(order) != self.order + 1:
            raise ValueError(f"expected the number of {self.order + 1}-grams")
        self._declared.append(int(count))

    def _check_section(self, k: int, found: int, unigrams: set[str]) -> None:
        for needed in (SENTENCE_START, SENTENCE_END):
            if needed not in unigrams:
                raise ValueError(f"there is no unigram {needed}, which the model of a sentence has")
        if found != self._declared[k - 1]:
            raise ValueError(f"there are {found} {k}-grams, but the header promises {self._declared[k - 1]}")

    def _ngram(self, k: int, fields: list[bytes], unigrams: set[str]) -> tuple[int, list[str], str, str]:
        if len(fields) not in (k + 1, k + 2):
            raise ValueError(f"expected a log probability, {k} word{'s' * (k > 1)} and perhaps a backoff")
        words = b" ".join(fields[1 : k + 1]).decode("utf-8").split(" ")
        words = [CAPITAL_MARKS.get(word, word) for word in words]
        if k == 1:
            unigrams.update(words)
        elif not unigrams.issuperset(words):
            raise ValueError(f"{next(word for word in words if word not in unigrams)!r} is no unigram")
        backoff = ""
        if len(fields) == k + 2:
            backoff = self._number(fields[-1], "backoff")
            if k == self.order:
                self.remarks["backoffs of the highest order left out, where none is used"] += 1
                backoff = ""
        prob = self._number(fields[0], "log probability")
        if float(prob) > ROUNDING:
            raise ValueError(f"the log probability {prob} is above 0")
        return k, words, prob, backoff

    def _number(self, text: bytes, what: str) -> str:
        value = float(text)
        if value < LOG10_ZERO:
            self.remarks[f"numbers below {LOG10_ZERO:g} ({what}), raised to it"] += 1
            return f"{LOG10_ZERO:g}"
        if not math.isfinite(value) or b"_" in text:  # Python's 1_000
            raise ValueError(f"the {what} {text.decode()} is no number")
        return text.decode()
