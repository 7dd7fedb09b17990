"""Interpolated modified Kneser-Ney estimation (Chen and Goodman 1998, An Empirical Study of Smoothing Techniques).

    p(w | h) = (c(hw) - D(c(hw))) / sum_v c(hv)  +  gamma(h) p(w | h without its first word)

Below the highest order c is the number of different words seen before the n-gram (the count itself for n-grams that
start with <s>, which nothing precedes). The unigrams are interpolated with the uniform distribution over the
vocabulary, so that a word of the lexicon that the text lacks has a small probability too.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from asr_parallel.corpus.ngram import (
    LOG10_ZERO,
    SENTENCE_START,
    UNKNOWN,
    NgramModel,
    bits_per_word,
    pack,
    token_stream,
    vocabulary_list,
    windows,
)

# Discounts of counts 1, 2, 3+ if the text is too small to estimate them: KenLM's `lmplz --discount_fallback`
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


def estimate(
    sentences: Sequence[Sequence[str]],
    vocabulary: Iterable[str],
    order: int = 3,
    min_count: int = 1,
) -> NgramModel:
    """Estimate an n-gram model from tokenised sentences (without <s> and </s>).

    Args:
        sentences: the training text; words outside `vocabulary` count as <unk>, which it must then have.
        vocabulary: all words that the model assigns a probability.
        min_count: rarer n-grams of the highest order are left out, which makes the decoding graph smaller (SRILM's
            default for trigrams is 2).

    Raises:
        ValueError: no sentences, a word outside a vocabulary without <unk>, or an order too high for the vocabulary's
            size.
    """
    words = vocabulary_list(vocabulary)
    bits = bits_per_word(len(words))
    if order < 1 or order * bits > 63:
        raise ValueError(f"order {order} is not within 1 and {63 // bits}, the most for {len(words)} words")
    if not any(sentences):
        raise ValueError("the text for the language model is empty")
    ids = {word: i for i, word in enumerate(words)}
    unknown = ids.get(UNKNOWN, -1)
    stream, position = token_stream(sentences, ids, unknown)
    if unknown < 0 and (stream < 0).any():
        outside = next(word for sentence in sentences for word in sentence if word not in ids)
        raise ValueError(f"the word {outside!r} is not in the vocabulary, and neither is {UNKNOWN}")

    keys, counts = _counts(stream, position, order, bits, ids[SENTENCE_START])
    prob = [_unigrams(keys[0], counts[0], len(words), ids[SENTENCE_START])]
    keys[0] = np.arange(len(words))
    backoff = []
    for k in range(2, order + 1):
        key, count = keys[k - 1], counts[k - 1]
        history, of = np.unique(key >> bits, return_inverse=True)
        total = np.bincount(of, weights=count)[of]
        seen = (count - _discounts(count)[np.minimum(count, 3)]) / total
        kept = count >= min_count if k == order else np.ones(len(key), dtype=bool)
        gamma = 1.0 - np.bincount(of[kept], weights=seen[kept], minlength=len(history))
        suffix = np.searchsorted(keys[k - 2], key & ((1 << bits * (k - 1)) - 1))
        prob.append((seen + gamma[of] * prob[-1][suffix])[kept])
        keys[k - 1] = key[kept]
        backoff.append(np.zeros(len(keys[k - 2])))
        backoff[-1][np.searchsorted(keys[k - 2], history)] = np.log10(gamma)
    backoff.append(np.zeros(len(keys[-1])))
    log10_prob = [np.log10(p) for p in prob]
    log10_prob[0][ids[SENTENCE_START]] = LOG10_ZERO
    return NgramModel(words, keys, log10_prob, backoff)


def _counts(
    stream: np.ndarray, position: np.ndarray, order: int, bits: int, start: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return packed n-grams of each order and their counts, adjusted (continuation counts) below the highest."""
    keys: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for k in range(1, order + 1):
        key, count = np.unique(pack(windows(stream, np.flatnonzero(position >= k - 1), k), bits), return_counts=True)
        keys.append(key)
        counts.append(count)
    for k in range(1, order):
        suffixes, preceding = np.unique(keys[k] & ((1 << bits * k) - 1), return_counts=True)
        counts[k - 1] = counts[k - 1].copy()
        counts[k - 1][np.searchsorted(keys[k - 1], suffixes)] = preceding  # all but those starting with <s>
    predicted = keys[0] != start  # <s> is a history only
    keys[0], counts[0] = keys[0][predicted], counts[0][predicted]
    return keys, counts


def _unigrams(seen_words: np.ndarray, count: np.ndarray, num_words: int, start: int) -> np.ndarray:
    """Return (num_words,) probabilities, interpolated with the uniform distribution over all words but <s>."""
    discount = _discounts(count)[np.minimum(count, 3)]
    total = count.sum()
    prob = np.full(num_words, discount.sum() / total / (num_words - 1))
    prob[seen_words] += (count - discount) / total
    prob[start] = 1.0  # overwritten by the caller; avoids log10(0)
    return prob


def _discounts(count: np.ndarray) -> np.ndarray:
    """Return (4,) discounts of counts 0, 1, 2, 3 and more, from the numbers of n-grams seen once to four times.

    FALLBACK_DISCOUNTS are used if one of the four numbers is 0 or a discount would lie outside (0, count].
    """
    n1, n2, n3, n4 = (int((count == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < d <= c for c, d in enumerate(found, 1)):
            return np.array((0.0, *found))
    return np.array((0.0, *FALLBACK_DISCOUNTS))
