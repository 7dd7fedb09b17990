"""Paired differences: their intervals cover the truth, two systems change places, and what is said of them."""

import math

import numpy as np
import pytest

from asr_parallel.decode.paired_difference import PairedDifference, holm, mean_difference, verdict, wer_difference

WORDS = 100


def counts(rates: np.ndarray, words: np.ndarray | int = WORDS) -> np.ndarray:
    """(n, S, 2) of rates in percent, (n, S)."""
    errors = np.round(rates * words / 100).clip(min=0)
    return np.stack([errors, np.broadcast_to(words, rates.shape)], axis=-1).astype(np.int64)


def simulated(
    random: np.random.Generator, seeds: int, speakers: int, difference: float, by_seed: float, by_speaker: float
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a system and its base, each of whose trainings and speakers differ by chance, and every word, too."""
    words = random.integers(60, 400, size=speakers)
    common = 20 + random.normal(0, 4, speakers) + random.normal(0, by_seed, (seeds, 1))
    own = common + difference + random.normal(0, by_seed, (seeds, 1)) + random.normal(0, by_speaker, speakers)
    pair = (100 * random.binomial(words, rates.clip(0, 100) / 100) / words for rates in (own, common))
    of_own, of_base = (counts(rates, words) for rates in pair)
    return of_own, of_base


@pytest.mark.parametrize(
    ("seeds", "speakers", "by_seed", "by_speaker"),
    [(1, 30, 0.0, 2.0), (2, 30, 1.0, 2.0), (3, 20, 2.0, 1.0), (5, 30, 1.0, 0.0), (8, 25, 1.0, 2.0), (3, 20, 0.0, 0.0)],
)
def test_intervals_cover_the_true_difference(seeds: int, speakers: int, by_seed: float, by_speaker: float) -> None:
    random, trials, covered, rejected = np.random.default_rng(5), 250, 0, 0
    for trial in range(trials):
        own, base = simulated(random, seeds, speakers, 1.5, by_seed, by_speaker)
        found = wer_difference(own, base, resamples=400, seed=trial)
        low, high = found.interval()
        covered += low <= 1.5 <= high
        own, base = simulated(random, seeds, speakers, 0.0, by_seed, by_speaker)
        rejected += wer_difference(own, base, resamples=400, seed=trial).p < 0.05
    three_deviations = 3 * math.sqrt(0.05 * 0.95 / trials)
    assert covered / trials >= 0.95 - three_deviations
    assert rejected / trials <= 0.05 + three_deviations


def test_an_interval_is_no_wider_than_it_must_be_where_seeds_and_speakers_differ() -> None:
    random, trials, covered = np.random.default_rng(6), 250, 0
    for trial in range(trials):
        own, base = simulated(random, 10, 30, 1.5, 3.0, 3.0)
        low, high = wer_difference(own, base, resamples=400, seed=trial).interval(0.8)
        covered += low <= 1.5 <= high
    assert covered / trials <= 0.8 + 3 * math.sqrt(0.8 * 0.2 / trials)


def test_two_seeds_and_two_speakers_by_hand() -> None:
    """One seed and one speaker are drawn: 1, 3, 2 or 6, of mean 3 and variance 3.5."""
    own, base = np.array([[11.0, 23.0], [12.0, 26.0]]), np.array([[10.0, 20.0], [10.0, 20.0]])
    found = wer_difference(counts(own), counts(base))
    assert found.difference == pytest.approx(3) and found.seeds == 2
    assert found.deviation == pytest.approx(math.sqrt(3.5), rel=0.02)
    # Speakers' means 1.5 and 4.5, seeds' 2 and 4: variances 2.25 and 1 of the mean, one degree of freedom each
    assert found.freedom == pytest.approx(3.25**2 / (2.25**2 + 1), rel=0.02)
    one = PairedDifference(3.0, 2.0, 1.0, 2)  # Student's with one degree of freedom is Cauchy's
    assert one.interval() == pytest.approx((3 - 2 * 12.7062, 3 + 2 * 12.7062), abs=1e-3)
    assert one.p == pytest.approx(1 - 2 / math.pi * math.atan(1.5))


def test_of_one_seed_speakers_alone_are_drawn() -> None:
    own, base = np.array([[11.0, 13.0, 16.0, 14.0]]), np.full((1, 4), 10.0)
    found = wer_difference(counts(own), counts(base), resamples=100_000)
    assert (found.difference, found.seeds, found.freedom) == (pytest.approx(3.5), 1, 3)
    assert found.deviation == pytest.approx(np.std([1, 3, 6, 4], ddof=1) / 2, rel=0.01)


def test_exchanged_systems_change_the_sign_and_nothing_else() -> None:
    random = np.random.default_rng(3)
    for seeds in (1, 2, 5):
        own, base = simulated(random, seeds, 12, 1.0, 1.0, 1.0)
        there, back = wer_difference(own, base), wer_difference(base, own)
        assert there == wer_difference(own, base)
        assert (back.difference, back.deviation, back.freedom) == (-there.difference, there.deviation, there.freedom)
        assert back.interval() == tuple(-end for end in reversed(there.interval()))
        assert back.p == there.p and back.is_within(3) == there.is_within(3)
        said = {verdict(one, 0.0, 0.001) for one in (there, back)}
        assert said == {"better", "worse"}


def test_what_is_common_to_both_does_not_count() -> None:
    """Speakers and seeds that differ by as much in both systems."""
    random = np.random.default_rng(2)
    common = random.integers(10, 60, 30) + np.array([[0], [8], [4]])
    better = random.integers(0, 5, 30)
    found = wer_difference(counts(common - better), counts(common))
    assert found.difference == pytest.approx(-better.mean())
    assert found.deviation == pytest.approx(better.std(ddof=1) / math.sqrt(30), rel=0.03)


def test_a_system_is_equivalent_to_itself() -> None:
    own, _ = simulated(np.random.default_rng(4), 3, 10, 0.0, 1.0, 1.0)
    found = wer_difference(own, own)
    assert (found.difference, found.deviation, found.interval(), found.p) == (0.0, 0.0, (0.0, 0.0), 1.0)
    assert verdict(found, 0.1, found.p) == "equivalent"


def test_a_difference_without_any_spread_decides_nothing() -> None:
    """As in sc_stats: speakers and seeds that all differ by as much say nothing of what chance does."""
    base = np.array([[10.0, 20.0, 30.0]])
    found = wer_difference(counts(base + 3), counts(base, 100))
    assert found.deviation == 0 and found.p == 1 and verdict(found, 0.3, found.p) == "no difference found"


@pytest.mark.parametrize(
    ("difference", "deviation", "p", "says"),
    [
        (0.0, 0.1, 1.0, "equivalent"), (0.2, 0.05, 0.001, "equivalent"), (-0.4, 0.1, 0.02, "better"),
        (0.4, 0.1, 0.02, "worse"), (0.4, 0.1, 0.05, "no difference found"), (0.0, 0.4, 1.0, "no difference found"),
    ],
)  # fmt: skip
def test_verdicts(difference: float, deviation: float, p: float, says: str) -> None:
    assert verdict(PairedDifference(difference, deviation, 30.0, 5), 0.3, p) == says


def test_equivalent_is_a_90_percent_interval_within_the_margin() -> None:
    found = PairedDifference(0.1, 0.2, 7.0, 5)
    low, high = found.interval(0.9)
    assert found.is_within(high + 1e-9) and not found.is_within(high - 1e-9) and -high < low


def test_p_and_interval_agree() -> None:
    for confidence in (0.8, 0.95):
        found = PairedDifference(1.0, 0.4, 4.0, 3)
        half = found.interval(confidence)[1] - 1.0
        assert PairedDifference(half, 0.4, 4.0, 3).p == pytest.approx(1 - confidence)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.03]) == [0.03] and holm([]) == []


def test_losses_are_paired_by_seed() -> None:
    found = mean_difference([1.1, 1.3, 1.2], [1.0, 1.1, 1.15])
    each = [0.1, 0.2, 0.05]
    assert found is not None and found.difference == pytest.approx(np.mean(each)) and found.freedom == 2
    assert found.deviation == pytest.approx(np.std(each, ddof=1) / math.sqrt(3))
    assert found.interval()[1] - found.difference == pytest.approx(4.30265 * found.deviation, rel=1e-5)
    assert mean_difference([1.0], [1.1]) is None


def test_counts_that_do_not_fit() -> None:
    two = counts(np.full((1, 2), 10.0))
    for own, base in ((two, two[:, :1]), (two[:, :1], two[:, :1])):
        with pytest.raises(ValueError, match="expected the same, of at least 2 speakers"):
            wer_difference(own, base)
