"""Data augmentation: copies of the training speech with perturbed speed, vocal-tract length and noise.

A copy has a speed, a warp and a noise floor. Speed perturbation resamples the audio and so scales rate, pitch and
formants together (Ko et al., "Audio augmentation for speech recognition", 2015). The warp factor moves only the mel
filters, as a different vocal tract length would (Jaitly and Hinton, "Vocal tract length perturbation", 2013). The noise
floor is white noise at a level relative to the utterance's speech level; it masks differences in recording noise. Ids
and speakers of a copy get a prefix, as in Kaldi's perturb_data_dir_speed.sh: CMVN treats a copy as a new speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

LARGEST_FACTOR = 2.0  # an octave


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A perturbation of an utterance; the default leaves it unchanged. noise_floor_db None: no noise is added.

    original_floor: the noise floor is the first one, that of the unperturbed data, and gives no prefix.
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
    """Return all combinations of speed, warp and noise floor; the first noise floor is that of the unperturbed data.

    Raises:
        ValueError: a factor out of range, a duplicate, or no factor 1.
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
    """Resample (N,) samples to play `speed` times as fast: about N / speed samples."""
    if speed == 1.0:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(speed).limit_denominator(100)
    return np.asarray(resample_poly(samples, ratio.denominator, ratio.numerator), dtype=np.float32)


def frame_map(num_frames: int, speed: float, num_source_frames: int) -> np.ndarray:
    """Return the corresponding frame of the original for each of the `num_frames` frames of a copy.

    Frame t is centred at 10 t + 12.5 ms; that time in the copy is `speed` times that in the original.
    """
    half = 1.25  # half a window, in frame shifts
    source = np.rint((np.arange(num_frames) + half) * speed - half).astype(np.int64)
    return np.clip(source, 0, num_source_frames - 1)
