"""ARPA language models: writing, reading, and restricting one to the words of a lexicon."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from asr_parallel.corpus.arpa_file import ArpaFile
from asr_parallel.corpus.lexicon import near_matches
from asr_parallel.corpus.ngram import (
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN,
    NgramModel,
    bits_per_word,
    pack,
    unpack,
)
from asr_parallel.record.files import atomic_file, write_lines
from asr_parallel.record.log import logger


def write_arpa(path: Path, model: NgramModel) -> None:
    """Write the model. Backoff weights of 0 (log10) are left out, as in SRILM."""
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


def read_arpa(path: Path, words: Collection[str] | None = None) -> NgramModel:
    """Read an ARPA file of any order, plain or gzipped.

    Args:
        words: read only the n-grams of these words, <s>, </s> and <unk>. They suffice to score a text of these
            words and need little memory, however large the model is. None: read all.

    Raises:
        ValueError: see `ArpaFile`.
    """
    wanted = None if words is None else {*words, SENTENCE_START, SENTENCE_END, UNKNOWN}
    ids: dict[str, int] = {}
    rows: list[list[tuple[list[int], float, float]]] = []
    for k, ngram, prob, backoff in ArpaFile(path):
        if wanted is None or wanted.issuperset(ngram):
            if k == 1:
                ids.setdefault(ngram[0], len(ids))
            rows.extend([] for _ in range(k - len(rows)))
            rows[k - 1].append(([ids[word] for word in ngram], float(prob), float(backoff or 0)))
    keys, probs, backoffs = [], [], []
    for k, entries in enumerate(rows, 1):
        ngrams = np.array([ngram for ngram, _, _ in entries], dtype=np.int64)
        key = pack(ngrams.reshape(-1, k), bits_per_word(len(ids)))
        in_order = np.argsort(key)
        keys.append(key[in_order])
        probs.append(np.array([prob for _, prob, _ in entries])[in_order])
        backoffs.append(np.array([backoff for _, _, backoff in entries])[in_order])
    return NgramModel(list(ids), keys, probs, backoffs)


def clean_arpa(source: Path, target: Path, lexicon: Collection[str]) -> tuple[list[int], Counter[str]]:
    """Restrict an ARPA file to the words of a lexicon, in the form that Kaldi's arpa2fst accepts.

    Dropped are n-grams with any other word (such as <eps> and #0), with <s> or </s> inside, whose history is not
    itself an n-gram of the model, and duplicates. <UNK> becomes <unk>. The other n-grams keep their order and their
    digits; probabilities are not renormalised, as in Kaldi. Every kind of change is counted and logged.

    Returns:
        The number of n-grams kept of each order, and the number dropped or changed, by reason.

    Raises:
        ValueError: as for `ArpaFile`, or none of its words is in the lexicon.
    """
    known = {*lexicon, SENTENCE_START, SENTENCE_END}
    base = len(known) + 1
    file, counts, left_out, changed = ArpaFile(source), Counter[int](), Counter[str](), Counter[str]()
    ids: dict[str, int] = {}
    outside: list[str] = []
    k, histories, seen = 0, set[int](), set[int]()  # each n-gram is one Python integer, exact at any length
    with tempfile.TemporaryFile("w+", encoding="utf-8") as body:
        for order, ngram, prob, backoff in file:
            while k < order:
                k, histories, seen = k + 1, seen, set()
                body.write(f"\n\\{k}-grams:\n")
            words = [UNKNOWN if word not in known and word.lower() == UNKNOWN in known else word for word in ngram]
            changed["n-grams with <UNK>, taken for <unk>"] += words != ngram
            if k == 1 and words[0] in known:
                ids.setdefault(words[0], len(ids))
            elif k == 1:
                outside.append(words[0])
            key = 0
            for word in words:
                key = key * base + ids.get(word, base - 1)
            if not ids.keys() >= set(words):
                left_out["with a word outside the lexicon"] += 1
            elif SENTENCE_START in words[1:] or SENTENCE_END in words[:-1]:
                left_out["with <s> or </s> inside"] += 1
            elif k > 1 and key // base not in histories:
                left_out["without the shorter n-gram that they continue"] += 1
            elif key in seen:
                left_out["that were there before"] += 1
            else:
                seen.add(key)
                counts[k] += 1
                body.write("\t".join([prob, " ".join(words), *([backoff] if backoff else [])]) + "\n")
        if not ids.keys() - {SENTENCE_START, SENTENCE_END, UNKNOWN}:
            first = f"{outside[0]!r}, ..." if outside else "it has none"
            raise ValueError(f"{source}: none of its words ({first}) is in the lexicon{near_matches(outside, known)}")
        ngrams = [counts[order] for order in range(1, file.order + 1)]
        body.seek(0)
        with atomic_file(target) as temp, temp.open("w", encoding="utf-8") as out:
            out.write("\n\\data\\\n" + "".join(f"ngram {order}={n}\n" for order, n in enumerate(ngrams, 1)))
            shutil.copyfileobj(body, out)
            out.writelines(f"\n\\{order}-grams:\n" for order in range(k + 1, file.order + 1))  # empty ones
            out.write("\n\\end\\\n")
    if outside:
        logger.warning(
            "%s: %d of its %d words are not in the lexicon and cannot be recognised (%s, ...)%s",
            *(source, len(outside), len(outside) + len(ids) - 2, outside[0], near_matches(outside, known)),
        )
    remarks = Counter({f"n-grams left out {reason}": count for reason, count in left_out.items()})
    remarks += changed + file.remarks
    for remark, count in remarks.items():
        logger.warning("%s: %d %s", source, count, remark)
    return ngrams, remarks
