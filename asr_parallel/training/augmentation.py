"""A random telephone line for every training example: a change of the spectrum's shape, the same in all its frames.

Log mel energies turn a line's frequency response into an offset that is the same in all frames. Drawing a new offset
for each example (all frames of its window alike) teaches a network not to rely on the one line each training speaker
was recorded over. CMVN removes a speaker's mean line, but with few speakers what is left of it still tells them apart.

Everything is drawn on the CPU, whatever the examples live on, so that a GPU trains on the very same examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The random variation of examples; all zero: none.

    tilt: deviation of a line's level and of its slope (from -1 at the first filter to 1 at the last), in units of the
        features' deviation.
    ripple: deviation of what is drawn for each filter by itself.
    widest_mask: filters; bands from 0 to this width are set to zero, see `filters_kept`.

    Raises:
        ValueError: one of them is negative.
    """

    tilt: float = 0.0
    ripple: float = 0.0
    widest_mask: int = 0

    def __post_init__(self) -> None:
        if not (self.tilt >= 0 and self.ripple >= 0 and self.widest_mask >= 0):
            raise ValueError(f"{self}: expected numbers of at least 0")

    def draw(self, examples: int, frame_dim: int, generator: Generator | None) -> "DrawnAugmentation":
        """Draw for `examples` examples of `frame_dim` filters from a CPU generator (None: torch's global one)."""
        offset = keep = None
        if self.tilt or self.ripple:
            offset = line_offsets(examples, frame_dim, self.tilt, self.ripple, generator)
        if self.widest_mask:
            keep = filters_kept(examples, frame_dim, self.widest_mask, generator)
        return DrawnAugmentation(offset, keep)


@dataclass(frozen=True, slots=True)
class DrawnAugmentation:
    """The variation drawn for B examples: offset and keep, each (B, frame_dim) or None for none."""

    offset: Tensor | None
    keep: Tensor | None

    def to(self, device: torch.device) -> "DrawnAugmentation":
        """Return a copy on another device; from pinned memory without waiting."""
        return self._each(lambda t: t.to(device, non_blocking=True))

    def pinned(self) -> "DrawnAugmentation":
        """Return a copy in pinned memory."""
        return self._each(Tensor.pin_memory)

    def part(self, start: int, stop: int) -> "DrawnAugmentation":
        """Return the part of the examples start .. stop."""
        return self._each(lambda t: t[start:stop])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "DrawnAugmentation":
        return DrawnAugmentation(*(None if t is None else change(t) for t in (self.offset, self.keep)))

    def apply(self, spliced: Tensor) -> None:
        """Vary (B, frames * frame_dim) float32 examples in place, on the device of what was drawn."""
        if self.offset is not None:
            spliced.view(len(spliced), -1, self.offset.shape[1]).add_(self.offset.unsqueeze(1))
        if self.keep is not None:
            spliced.view(len(spliced), -1, self.keep.shape[1]).mul_(self.keep.unsqueeze(1))


def stacked(drawn: Sequence[DrawnAugmentation]) -> DrawnAugmentation:
    """Join what was drawn for several workers of one Augmentation."""
    offsets = [d.offset for d in drawn if d.offset is not None]
    keeps = [d.keep for d in drawn if d.keep is not None]
    return DrawnAugmentation(torch.cat(offsets) if offsets else None, torch.cat(keeps) if keeps else None)


def line_offsets(examples: int, frame_dim: int, tilt: float, ripple: float, generator: Generator | None) -> Tensor:
    """Return (examples, frame_dim) offsets of random lines; `tilt` and `ripple` as in Augmentation."""
    level, slope = torch.randn(2, examples, 1, generator=generator)
    each = torch.randn(examples, frame_dim, generator=generator)
    return each.mul_(ripple).add_(tilt * level).add_((tilt * slope) * torch.linspace(-1, 1, frame_dim))


def filters_kept(examples: int, frame_dim: int, widest: int, generator: Generator | None) -> Tensor:
    """Return (examples, frame_dim): 0 in a random band of each example's filters, 1 elsewhere.

    Zero is the features' mean. This is SpecAugment's frequency mask (Park et al., 2019) on single examples: no network
    can lean on the few bands that tell the training speakers' words apart. Bands are 0 to `widest` filters wide, all
    widths alike; they may reach over the upper end.
    """
    width = torch.randint(0, widest + 1, (examples, 1), generator=generator)
    first = torch.randint(0, frame_dim, (examples, 1), generator=generator)
    filters = torch.arange(frame_dim)
    return ((filters < first) | (filters >= first + width)).float()
