"""A random telephone line for every training example: a change of the spectrum's shape, the same in all its frames.

Log mel energies turn a line's frequency response into an offset that is the same in all frames. Drawing a new offset
for each example (all frames of its window alike) teaches a network not to rely on the one line each training speaker
was recorded over. CMVN removes a speaker's mean line, but with few speakers what is left of it still tells them apart.
"""

import torch
from torch import Tensor


def vary_channel(spliced: Tensor, frame_dim: int, tilt: float, ripple: float) -> Tensor:
    """Add a random offset to each spliced example, drawn from torch's global generator.

    Args:
        spliced: (B, frames * frame_dim), in units of the features' deviation.
        tilt: deviation of the level and of the slope (from -1 at the first filter to 1 at the last).
        ripple: deviation of what is drawn for each filter by itself.
    """
    level, slope = torch.randn(2, len(spliced), 1)
    each = torch.randn(len(spliced), frame_dim)
    offset = tilt * (level + slope * torch.linspace(-1, 1, frame_dim)) + ripple * each
    return (spliced.view(len(spliced), -1, frame_dim) + offset[:, None]).view_as(spliced)


def mask_filters(spliced: Tensor, frame_dim: int, widest: int) -> Tensor:
    """Set a random band of each spliced example's filters to zero, their mean, in all its frames alike.

    This is SpecAugment's frequency mask (Park et al., 2019) on single examples: no network can lean on the few bands
    that tell the training speakers' words apart. Drawn from torch's global generator.

    Args:
        spliced: (B, frames * frame_dim).
        widest: bands are 0 to `widest` filters wide, all widths alike; they may reach over the upper end.
    """
    width = torch.randint(0, widest + 1, (len(spliced), 1))
    first = torch.randint(0, frame_dim, (len(spliced), 1))
    filters = torch.arange(frame_dim)
    masked = (filters >= first) & (filters < first + width)
    return spliced.view(len(spliced), -1, frame_dim).masked_fill(masked[:, None], 0.0).view_as(spliced)
