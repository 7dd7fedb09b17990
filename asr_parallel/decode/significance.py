"""Confidence intervals of word error rates, and significance tests of their differences.

Bootstrap: M. Bisani, H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004;
speakers are resampled, as utterances of one speaker are not independent. MAPSSWE: matched_pairs.py. Definitions and
interpretation: docs/significance.md.

Everything here reads the alignments that `score` keeps (alignments.py). Rates and differences are in percent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.decode.alignments import ScoredDecode
from asr_parallel.decode.edit_distance import Counts
from asr_parallel.decode.matched_pairs import CRITICAL_Z, MIN_GOOD, matched_pairs, segment_errors

RESAMPLES = 10_000
CONFIDENCE = 0.95
CHUNK_VALUES = 1 << 21  # of resamples x speakers at once


@dataclass(frozen=True, slots=True)
class WerInterval:
    """A word error rate in percent and its confidence interval.

    deviation: standard deviation of the resampled rates. speakers, resamples, seed: of the bootstrap.
    scorer: name and rules of the scorer.
    """

    wer: float
    low: float
    high: float
    deviation: float
    confidence: float
    errors: int
    words: int
    speakers: int
    resamples: int
    seed: int
    scorer: str


@dataclass(frozen=True, slots=True)
class Improvement:
    """The result of a paired bootstrap of system b against system a.

    difference: WER of b less that of a, in percent of the words: negative where b is better; low, high: its interval.
    probability: of improvement: the share of resamples in which b has the lower WER, ties counted half. Systems that
        do not differ have 0.5.
    """

    wer_a: float
    wer_b: float
    difference: float
    low: float
    high: float
    probability: float
    confidence: float
    speakers: int
    resamples: int
    seed: int
    scorer: str


@dataclass(frozen=True, slots=True)
class Mapsswe:
    """Result of the matched-pairs sentence-segment word error test of systems a and b.

    segments: number of segments with an error of either. mean, deviation: of (errors of a - errors of b) per segment.
    z, p: test statistic and two-sided probability of one as large where the systems do not differ.
    """

    wer_a: float
    wer_b: float
    segments: int
    mean: float
    deviation: float
    z: float
    p: float
    scorer: str

    @property
    def significant(self) -> bool:
        """True if the systems differ at a confidence of 95 %, as decided by sc_stats."""
        return abs(self.z) > CRITICAL_Z

    @property
    def better(self) -> str | None:
        """The system that makes significantly fewer errors, "a" or "b"; None for neither."""
        return ("a" if self.mean < 0 else "b") if self.significant else None


def wer_interval(
    decode_folder: Path, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> WerInterval:
    """Return the bootstrap confidence interval, by speaker, of a scored decode's word error rate.

    Raises:
        ValueError: the folder was not scored, has fewer than two speakers or no reference word, or an option is off.
    """
    scored = ScoredDecode.open(decode_folder)
    _check_set(scored)
    rates = bootstrap_rates([scored.per_speaker()], resamples, seed)[0]
    low, high = _quantiles(rates, confidence)
    counts = scored.counts
    return WerInterval(
        wer=counts.wer,
        low=low,
        high=high,
        deviation=float(np.nanstd(rates)),
        confidence=confidence,
        errors=counts.errors,
        words=counts.words,
        speakers=len(scored.per_speaker()),
        resamples=resamples,
        seed=seed,
        scorer=scored.scorer,
    )


def improvement(
    folder_a: Path, folder_b: Path, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Improvement:
    """Return the paired bootstrap by speaker: how much better decode b is than decode a, and how probably.

    Each resample draws the same speakers for both.

    Raises:
        ValueError: as in wer_interval; or the two were not scored against the same reference.
    """
    a, b = open_pair(folder_a, folder_b)
    _check_set(a)
    rates_a, rates_b = bootstrap_rates([a.per_speaker(), b.per_speaker()], resamples, seed)
    differences = rates_b - rates_a
    low, high = _quantiles(differences, confidence)
    known = differences[~np.isnan(differences)]
    return Improvement(
        wer_a=a.counts.wer,
        wer_b=b.counts.wer,
        difference=b.counts.wer - a.counts.wer,
        low=low,
        high=high,
        probability=float(np.mean((known < 0) + 0.5 * (known == 0))),
        confidence=confidence,
        speakers=len(a.per_speaker()),
        resamples=resamples,
        seed=seed,
        scorer=a.scorer,
    )


def mapsswe(folder_a: Path, folder_b: Path, *, min_good: int = MIN_GOOD) -> Mapsswe:
    """Test whether two scored decodes of one set differ in their numbers of errors.

    Args:
        min_good: number of consecutive words correct in both that end a segment.

    Raises:
        ValueError: a folder was not scored, the two were not scored against the same reference, or min_good < 1.
    """
    a, b = open_pair(folder_a, folder_b)
    segments = [
        errors
        for of_a, of_b in zip(a.utterances, b.utterances, strict=True)
        for errors in segment_errors(of_a.steps, of_b.steps, min_good)
    ]
    mean, deviation, z, p = matched_pairs(segments)
    return Mapsswe(a.counts.wer, b.counts.wer, len(segments), mean, deviation, z, p, a.scorer)


def mean_interval(
    counts: np.ndarray, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return a bootstrap interval of a mean word error rate over seeds of a training.

    Each resample draws speakers, the same for all trainings, and seeds, as many as there are, both with replacement. Of
    one seed it is the interval of wer_interval.

    Args:
        counts: (seeds, speakers, 2) errors and words.

    Returns:
        Its ends, in percent.
    """
    rates, seeds = resampled_rates(counts, resamples, seed), len(counts)
    drawn = np.random.default_rng([seed, 1]).multinomial(seeds, np.full(seeds, 1.0 / seeds), size=resamples)
    return _quantiles((drawn.T * rates).sum(axis=0) / seeds, confidence)


def bootstrap_rates(systems: Sequence[Mapping[str, Counts]], resamples: int, seed: int) -> np.ndarray:
    """Return word error rates of resampled test sets: as many speakers as there are, drawn with replacement.

    Args:
        systems: speaker -> counts, of systems with the same speakers; each resample has the same draw for all.

    Returns:
        (systems, resamples) float64, percent; NaN for a resample without a word of the reference.

    Raises:
        ValueError: resamples < 1.
    """
    counts = np.array([[(s[n].errors, s[n].words) for n in systems[0]] for s in systems])
    return resampled_rates(counts, resamples, seed)


def resampled_rates(counts: np.ndarray, resamples: int, seed: int, drawn: int | None = None) -> np.ndarray:
    """Return (systems, resamples) rates as bootstrap_rates does, of (systems, speakers, 2) errors and words.

    Args:
        drawn: speakers in a resample; None: as many as there are.
    """
    if resamples < 1:
        raise ValueError(f"resamples {resamples}: expected a number from 1")
    systems, speakers, _ = counts.shape
    generator = np.random.default_rng(seed)
    shares = np.full(speakers, 1.0 / speakers)
    rates = np.empty((systems, resamples))
    chunk = max(1, CHUNK_VALUES // speakers)
    for first in range(0, resamples, chunk):
        size = min(chunk, resamples - first)
        # how often each speaker was drawn: (1, size, speakers) x (systems, speakers, 2)
        sums = generator.multinomial(drawn or speakers, shares, size=size)[None] @ counts.astype(np.float64)
        errors, words = sums[..., 0], sums[..., 1]
        rates[:, first : first + size] = 100.0 * errors / np.where(words > 0, words, np.nan)
    return rates


def open_pair(folder_a: Path, folder_b: Path) -> tuple[ScoredDecode, ScoredDecode]:
    """Open two scored decodes that may be compared: of the same utterances, by the same reference, scorer and rules.

    The weight of the language model is part of a system; it may differ.

    Raises:
        ValueError: one was not scored, or they may not be compared (with what differs).
    """
    a, b = ScoredDecode.open(folder_a), ScoredDecode.open(folder_b)
    of_a, of_b = ({u.name: u for u in scored.utterances} for scored in (a, b))
    problem = ""
    if a.scorer != b.scorer:
        problem = f"scored by {a.scorer} and {b.scorer}"
    elif alone := sorted(of_a.keys() ^ of_b.keys()):
        problem = f"{len(alone)} utterances are in one only ({alone[0]}, ...)"
    elif list(of_a) != list(of_b):
        problem = "the utterances are in another order"
    else:
        for name, u in of_a.items():
            if (u.reference, u.speaker) != (of_b[name].reference, of_b[name].speaker):
                problem = f"utterance {name} has another {'speaker' if u.reference == of_b[name].reference else 'text'}"
                break
    if problem:
        raise ValueError(f"{folder_a} and {folder_b} were not scored against the same reference: {problem}")
    return a, b


def _check_set(scored: ScoredDecode) -> None:
    speakers = len(scored.per_speaker())
    if speakers < 2:
        raise ValueError(f"{scored.folder}: {speakers} speaker; a bootstrap by speaker needs at least 2")
    if not scored.counts.words:
        raise ValueError(f"{scored.folder}: the reference has no words")


def _quantiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence:g}: expected a number between 0 and 1, such as 0.95")
    low, high = np.nanquantile(values, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
