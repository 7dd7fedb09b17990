"""Loss, accuracy and mean posterior of a network on rows of a frame store."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.transport import Alone, Transport

BLOCK_FRAMES = 4096  # forwarded at once


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross-entropy (nats a frame) and share of frames whose label has the highest posterior."""

    loss: float
    accuracy: float


def evaluate(network: StackedNetwork, store: FrameStore, rows: np.ndarray, transport: Transport | None = None) -> Score:
    """Loss and accuracy of the first replica on some rows of a store, a part of them in each of a run's processes."""
    transport = transport or Alone()
    own = rows[len(rows) * transport.rank // transport.size : len(rows) * (transport.rank + 1) // transport.size]
    loss_sum = torch.zeros((), dtype=torch.float64, device=network.device)
    correct = torch.zeros((), dtype=torch.int64, device=network.device)
    for chosen, log_posterior in _blocks(network, store, own):
        labels = torch.from_numpy(store.labels[chosen].astype(np.int64)).to(network.device)
        of_label = log_posterior.gather(1, labels[:, None]).squeeze(1)
        loss_sum -= of_label.sum(dtype=torch.float64)
        correct += (of_label >= log_posterior.amax(dim=1)).sum()
    frames = max(1, len(rows))
    total_loss, total_correct = transport.total([loss_sum.item(), correct.item()])
    return Score(total_loss / frames, total_correct / frames)


def mean_posterior(network: StackedNetwork, store: FrameStore, rows: np.ndarray) -> np.ndarray:
    """(num_pdfs,) float64: what the first replica gives each pdf on average on some rows of a store."""
    total = torch.zeros(network.spec.num_pdfs, dtype=torch.float64, device=network.device)
    for _, log_posterior in _blocks(network, store, rows):
        total += log_posterior.exp().sum(dim=0, dtype=torch.float64)
    mean: np.ndarray = (total / max(1, len(rows))).cpu().numpy()
    return mean


def _blocks(network: StackedNetwork, store: FrameStore, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Log posteriors (B, num_pdfs) float32 of the first replica, block after block of rows."""
    one = network.replica(0)
    for start in range(0, len(rows), BLOCK_FRAMES):
        chosen = rows[start : start + BLOCK_FRAMES]
        spliced = torch.from_numpy(store.gather(chosen)).to(network.device, network.dtype)
        yield chosen, torch.log_softmax(one.logits(spliced[None])[0], dim=1, dtype=torch.float32)
