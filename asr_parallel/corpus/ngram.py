"""Backoff n-gram models as sorted arrays: look-up, perplexity, the uniform word loop.

The k-grams of a model are one sorted array of integers: the word ids of a k-gram, packed side by side. A history is
the integer shifted right by one word, a suffix is the integer without its first word, and looking up a million
n-grams is one binary search. (Counting and estimating: kneser_ney.py; files: arpa.py.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

SENTENCE_START, SENTENCE_END, UNKNOWN = "<s>", "</s>", "<unk>"
LOG10_ZERO = -99.0  # log10 probability of <s>, which is never predicted, as usual in ARPA files


@dataclass(frozen=True)
class NgramModel:
    """A backoff n-gram model. The lists have one array for each order, unigrams first.

    words: id -> word, with <s> and </s>.
    keys: sorted (N_k,) int64 packed word ids.
    log10_prob, log10_backoff: (N_k,) float64; the backoff is 0 if the k-gram is not a history.
    """

    words: list[str]
    keys: list[np.ndarray]
    log10_prob: list[np.ndarray]
    log10_backoff: list[np.ndarray]
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {word: i for i, word in enumerate(self.words)})

    @property
    def order(self) -> int:
        return len(self.keys)

    @property
    def bits(self) -> int:
        return bits_per_word(len(self.words))

    def log10_probs(self, ngrams: np.ndarray) -> np.ndarray:
        """Return log10 p(last word | the words before it) of (N, k) word ids, k >= 1; -inf for a word not in the model.

        An id of len(words) or more in the history is an unknown word: the history is cut there.
        """
        ngrams = ngrams[:, -self.order :]
        k = ngrams.shape[1]
        found, at = _find(self.keys[k - 1], pack(ngrams, self.bits))
        result = np.where(found, self.log10_prob[k - 1][at], -np.inf)
        if k > 1 and not found.all():
            shorter = ngrams[~found]
            known, at = _find(self.keys[k - 2], pack(shorter[:, :-1], self.bits))
            backoff = np.where(known, self.log10_backoff[k - 2][at], 0.0)
            result[~found] = backoff + self.log10_probs(shorter[:, 1:])
        return result


@dataclass(frozen=True)
class Perplexity:
    """The score of a text. OOV words are counted, but not predicted (as in SRILM's `ngram -ppl`)."""

    sentences: int
    words: int
    oovs: int
    log10_prob: float

    @property
    def perplexity(self) -> float:
        """Perplexity per predicted token: the known words and one </s> for each sentence."""
        return float(10.0 ** (-self.log10_prob / (self.words - self.oovs + self.sentences)))


def bits_per_word(num_words: int) -> int:
    """Return the number of bits of a word id in a packed n-gram; the id `num_words` (unknown) fits too."""
    return int(num_words).bit_length()


def pack(ngrams: np.ndarray, bits: int) -> np.ndarray:
    """Pack (N, k) word ids into (N,) int64, first word highest; Python integers if 63 bits are too few."""
    fits = bits * ngrams.shape[1] < 64
    keys = np.zeros(len(ngrams), dtype=np.int64 if fits else object)
    for column in ngrams.T.astype(keys.dtype):
        keys = keys << bits | column
    return keys


def unpack(keys: np.ndarray, bits: int, k: int) -> np.ndarray:
    """Return the (N, k) word ids of (N,) packed k-grams."""
    mask = (1 << bits) - 1
    return np.stack([keys >> bits * (k - 1 - j) & mask for j in range(k)], axis=1)


def _find(table: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which keys are in the sorted table, and where (a valid index also for those that are not)."""
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return table[at] == keys, at


def token_stream(
    sentences: Iterable[Sequence[str]], ids: dict[str, int], unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return all sentences as one (T,) stream of ids, <s> ... </s> each, and each id's position in its sentence."""
    start, end = ids[SENTENCE_START], ids[SENTENCE_END]
    stream: list[int] = []
    lengths: list[int] = []
    for sentence in sentences:
        stream.append(start)
        stream.extend(ids.get(word, unknown) for word in sentence)
        stream.append(end)
        lengths.append(len(sentence) + 2)
    position = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.empty(0, dtype=np.int64)
    return np.array(stream, dtype=np.int64), position


def windows(stream: np.ndarray, last: np.ndarray, k: int) -> np.ndarray:
    """Return the (N, k) n-grams of the stream that end at the indices `last`."""
    return stream[last[:, None] + np.arange(1 - k, 1)]


def perplexity(model: NgramModel, sentences: Sequence[Sequence[str]]) -> Perplexity:
    """Score a text, with the </s> of each sentence. A word that the model lacks is an OOV, even if it has <unk>."""
    missing = len(model.words)
    stream, position = token_stream(sentences, model.ids, missing)
    is_oov = stream == missing
    stream[is_oov] = model.ids.get(UNKNOWN, missing)  # as a history an OOV is <unk>
    total = 0.0
    for k in range(2, max(model.order, 2) + 1):  # the longest history has k - 1 words
        full = position >= k - 1 if k >= model.order else position == k - 1
        total += float(model.log10_probs(windows(stream, np.flatnonzero(full & ~is_oov), k)).sum())
    return Perplexity(
        sentences=len(sentences),
        words=sum(len(sentence) for sentence in sentences),
        oovs=int(is_oov.sum()),
        log10_prob=total,
    )


def uniform_model(words: Iterable[str]) -> NgramModel:
    """Return a uniform word loop: every word and the sentence end are equally likely everywhere."""
    vocabulary = vocabulary_list(words)
    log10_prob = np.full(len(vocabulary), -np.log10(len(vocabulary) - 1))
    log10_prob[vocabulary.index(SENTENCE_START)] = LOG10_ZERO
    return NgramModel(vocabulary, [np.arange(len(vocabulary))], [log10_prob], [np.zeros(len(vocabulary))])


def vocabulary_list(words: Iterable[str]) -> list[str]:
    """Return the words of a model: <s>, </s> and `words`, sorted bytewise."""
    return [SENTENCE_START, SENTENCE_END, *sorted(set(words) - {SENTENCE_START, SENTENCE_END}, key=str.encode)]
