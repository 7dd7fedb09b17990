"""N-gram models as ARPA text files (the format of SRILM's ngram-format(5))."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from asr_parallel.corpus.ngram import SENTENCE_END, SENTENCE_START, NgramModel, bits_per_word, pack, unpack
from asr_parallel.record.files import read_lines, write_lines


def write_arpa(path: Path, model: NgramModel) -> None:
    """Write the model. Backoffs of 0 (probability 1) are left out, as SRILM does."""
    write_lines(path, _lines(model))


def _lines(model: NgramModel) -> Iterator[str]:
    yield ""
    yield "\\data\\"
    yield from (f"ngram {k}={len(keys)}" for k, keys in enumerate(model.keys, 1))
    for k, keys in enumerate(model.keys, 1):
        yield ""
        yield f"\\{k}-grams:"
        ngrams = unpack(keys, model.bits, k).tolist()
        table = zip(ngrams, model.log10_prob[k - 1].tolist(), model.log10_backoff[k - 1].tolist(), strict=True)
        for ngram, prob, backoff in table:
            text = " ".join(model.words[i] for i in ngram)
            yield f"{prob:.7g}\t{text}\t{backoff:.7g}" if backoff else f"{prob:.7g}\t{text}"
    yield ""
    yield "\\end\\"


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file of any order.

    Raises:
        ValueError: not an ARPA file, a line of another form, a count that is not kept, no <s> or </s>.
    """
    promised, rows = _read_sections(path)
    words = [ngram[0] for ngram, _, _ in rows.get(1, [])]
    for needed in (SENTENCE_START, SENTENCE_END):
        if needed not in words:
            raise ValueError(f"{path}: no unigram {needed}; expected the ARPA file of a sentence model")
    ids = {word: i for i, word in enumerate(words)}
    keys, probs, backoffs = [], [], []
    for k, count in sorted(promised.items()):
        entries = rows.get(k, [])
        if len(entries) != count:
            raise ValueError(f"{path}: {len(entries)} {k}-grams, but the header promises {count}")
        try:
            ngrams = np.array([[ids[word] for word in ngram] for ngram, _, _ in entries], dtype=np.int64)
        except KeyError as error:
            raise ValueError(f"{path}: a {k}-gram uses {error}, which is no unigram") from error
        key = pack(ngrams.reshape(-1, k), bits_per_word(len(words)))
        in_order = np.argsort(key)
        keys.append(key[in_order])
        probs.append(np.array([prob for _, prob, _ in entries])[in_order])
        backoffs.append(np.array([backoff for _, _, backoff in entries])[in_order])
    return NgramModel(words, keys, probs, backoffs)


Row = tuple[list[str], float, float]


def _read_sections(path: Path) -> tuple[dict[int, int], dict[int, list[Row]]]:
    """The counts of the header, and (words, log10 probability, log10 backoff) of each line, by order."""
    promised: dict[int, int] = {}
    rows: dict[int, list[Row]] = {}
    k = -1  # -1 before \data\, 0 in the header, then the order of the section
    for n, line in enumerate(read_lines(path), 1):
        line = line.strip()
        try:
            if not line or (k < 0 and line != "\\data\\"):
                continue
            if line == "\\data\\":
                k = 0
            elif line == "\\end\\":
                return promised, rows
            elif line.startswith("\\") and line.endswith("-grams:"):
                k = int(line[1:-7])
            elif k == 0:
                order, _, count = line.removeprefix("ngram ").partition("=")
                promised[int(order)] = int(count)
            else:
                prob, *rest = line.split()
                backoff = float(rest[k]) if len(rest) == k + 1 else 0.0
                if len(rest) not in (k, k + 1):
                    raise ValueError
                rows.setdefault(k, []).append((rest[:k], float(prob), backoff))
        except ValueError as error:
            raise ValueError(f"{path}: line {n}: {line!r} does not belong in an ARPA file") from error
    raise ValueError(f"{path}: no \\data\\ ... \\end\\; expected an ARPA file")
