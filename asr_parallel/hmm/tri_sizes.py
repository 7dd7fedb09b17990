"""Sizes of a triphone system, leaves and Gaussians, by the amount of data.

Gaussians grow with the square root of the hours of speech and leaves with the fourth root, through the sizes that
Kaldi's egs/mini_librispeech/s5/run.sh gives tri1 for 5 hours. What egs/librispeech/s5/run.sh gives tri4b, tri5b and
tri6b (100, 460 and 960 hours: 4,200, 5,000 and 7,000 leaves, 40,000, 100,000 and 150,000 Gaussians) lies within a
quarter of it. With fewer hours there are as many Gaussians a leaf as at 5.

Speakers count too: Gaussians may learn the voices of a few. With four speakers triphones of 3,000 and 1,000 Gaussians
made more errors on others than those of 600, though not beyond chance (recipes/digits/RESULTS.md).
"""

from dataclasses import dataclass

from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.record.log import logger

FRAMES_PER_HOUR = 360_000
# tri1 of Kaldi's egs/mini_librispeech/s5/run.sh
HOURS = 5.0
LEAVES = 2000
GAUSSIANS = 10_000
# measured: recipes/digits/RESULTS.md, "Triphone against monophone"
GAUSSIANS_PER_SPEAKER = 150
LEAST_GAUSSIANS_PER_LEAF = 3


@dataclass(frozen=True, slots=True)
class TriSizes:
    """Leaves of the tree at most, and Gaussians in all."""

    leaves: int
    num_gauss: int


def sizes_by_data(num_frames: int, num_speakers: int) -> TriSizes:
    """Return sizes for so many frames, 10 ms each, of so many speakers.

    Of one speaker the hours alone count: a system of one voice can hardly be meant for others.
    """
    share = num_frames / FRAMES_PER_HOUR / HOURS
    num_gauss = max(1, round(GAUSSIANS * share**0.5))
    leaves = min(num_gauss * LEAVES // GAUSSIANS, round(LEAVES * share**0.25))
    if num_speakers > 1:
        num_gauss = min(num_gauss, GAUSSIANS_PER_SPEAKER * num_speakers)
    return TriSizes(max(1, min(leaves, num_gauss // LEAST_GAUSSIANS_PER_LEAF)), num_gauss)


def sizes_for(data: TrainingSet) -> TriSizes:
    """Return sizes for a training set, and log them."""
    speakers = {data.archive.speakers[u] for u in data.utterances}
    frames = int(data.num_frames.sum())
    sizes = sizes_by_data(frames, len(speakers))
    logger.info(
        "%.2f hours by %d speakers: by default at most %d leaves, and %d Gaussians",
        frames / FRAMES_PER_HOUR, len(speakers), sizes.leaves, sizes.num_gauss,
    )  # fmt: skip
    return sizes
