"""Sizes of triphone systems by hours and speakers."""

from itertools import pairwise

import numpy as np
import pytest

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.hmm.tri_sizes import (
    FRAMES_PER_HOUR,
    GAUSSIANS_PER_SPEAKER,
    LEAST_GAUSSIANS_PER_LEAF,
    TriSizes,
    sizes_by_data,
    sizes_for,
)

MANY = 1000


@pytest.mark.parametrize(
    ("hours", "leaves", "num_gauss"),
    # Kaldi: tri1 of egs/mini_librispeech; tri4b, tri5b and tri6b of egs/librispeech
    [(5, 2000, 10_000), (100, 4200, 40_000), (460, 5000, 100_000), (960, 7000, 150_000)],
)
def test_sizes_are_near_those_of_kaldis_recipes(hours: int, leaves: int, num_gauss: int) -> None:
    sizes = sizes_by_data(hours * FRAMES_PER_HOUR, MANY)
    assert sizes.leaves == pytest.approx(leaves, rel=0.25) and sizes.num_gauss == pytest.approx(num_gauss, rel=0.25)


def test_more_data_never_make_a_system_smaller() -> None:
    hours = [sizes_by_data(round(h * FRAMES_PER_HOUR), MANY) for h in np.geomspace(0.01, 2000, 60)]
    speakers = [sizes_by_data(100 * FRAMES_PER_HOUR, n) for n in (*range(2, 300), MANY)]
    for sizes in (hours, speakers):
        assert all(a.leaves <= b.leaves and a.num_gauss <= b.num_gauss for a, b in pairwise(sizes))
        assert all(1 <= one.leaves <= one.num_gauss for one in sizes)


def test_few_speakers_limit_the_gaussians_and_one_does_not() -> None:
    hour = FRAMES_PER_HOUR
    assert sizes_by_data(hour, 4).num_gauss == 4 * GAUSSIANS_PER_SPEAKER < sizes_by_data(hour, MANY).num_gauss
    assert sizes_by_data(hour, 4).leaves == sizes_by_data(hour, 4).num_gauss // LEAST_GAUSSIANS_PER_LEAF
    assert sizes_by_data(hour, 1) == sizes_by_data(hour, MANY)
    assert sizes_by_data(1, 1) == TriSizes(1, 7)


def test_only_utterances_of_the_training_set_count() -> None:
    lengths = [100, 200, 300, 400]
    archive = FeatureArchive(
        list("abcd"), ["s", "s", "t", "u"], np.cumsum([0, *lengths]), np.zeros((sum(lengths), 2), dtype=np.float32)
    )
    data = TrainingSet(archive, [0, 2], [("one",)] * 2, [])
    assert sizes_for(data) == sizes_by_data(400, 2)
