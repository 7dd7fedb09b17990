"""A random telephone line for every training example: a small fixed change of the spectrum's shape.

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
