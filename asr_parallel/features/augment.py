"""Perturbed copies of the training speech: more speakers and rates than were recorded.

A copy has a speed, a warp and a noise floor. Speed resamples the audio, so it changes rate, pitch and formants together
(Ko et al., "Audio augmentation for speech recognition", 2015). Warp moves the mel filters only, like another vocal
tract length (Jaitly and Hinton, "Vocal tract length perturbation", 2013). The noise floor is white noise so far below
the utterance's speech level; it hides how quiet the room was. Ids and speakers of a copy get a prefix, as Kaldi's
perturb_data_dir_speed.sh gives them: each copy of a speaker is normalised as one more speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

LARGEST_FACTOR = 2.0  # an octave: beyond it nothing sounds like the same words


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way to change an utterance; the default leaves it alone. noise_floor_db None: no noise is added.

    The first noise floor that is asked for belongs to what counts as the original: it gives no prefix.
    """

    speed: float = 1.0
    warp: float = 1.0
    noise_floor_db: float | None = None
    original_floor: bool = True

    @property
    def prefix(self) -> str:
        """The prefix of the ids and speakers of this copy."""
        speed = f"sp{self.speed:g}-" if self.speed != 1.0 else ""
        warp = f"wf{self.warp:g}-" if self.warp != 1.0 else ""
        return speed + warp + ("" if self.original_floor else f"nf{self.noise_floor_db:g}-")


def perturbations(
    speed_factors: Sequence[float], warp_factors: Sequence[float], noise_floors_db: Sequence[float] = ()
) -> list[Perturbation]:
    """Return every speed with every warp and every noise floor; the first noise floor is the original's.

    Raises:
        ValueError: a factor out of range, a repeated one, or none that leaves the speech as it is.
    """
    for name, factors in (("speed", speed_factors), ("warp", warp_factors)):
        if any(not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR for factor in factors):
            raise ValueError(f"{name} factors {list(factors)}: expected numbers from 0.5 to 2")
        if 1.0 not in factors or len(set(factors)) != len(factors):
            raise ValueError(f"{name} factors {list(factors)}: expected different numbers with 1.0 among them")
    if len(set(noise_floors_db)) != len(noise_floors_db):
        raise ValueError(f"noise floors {list(noise_floors_db)}: expected different numbers")
    return [
        Perturbation(speed, warp, floor, number == 0)
        for speed, warp, (number, floor) in product(speed_factors, warp_factors, enumerate(noise_floors_db or [None]))
    ]


def change_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """Play (N,) samples `speed` times as fast: about N / speed samples."""
    if speed == 1.0:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(speed).limit_denominator(100)
    return np.asarray(resample_poly(samples, ratio.denominator, ratio.numerator), dtype=np.float32)


def frame_map(num_frames: int, speed: float, num_source_frames: int) -> np.ndarray:
    """Return for each of `num_frames` frames of a copy the frame of the original with the same speech in its middle.

    Frame t is centred on 10 t + 12.5 ms; what lies there in the copy lay at `speed` times that in the original.
    """
    half = 1.25  # half a window, in frame shifts
    source = np.rint((np.arange(num_frames) + half) * speed - half).astype(np.int64)
    return np.clip(source, 0, num_source_frames - 1)
