"""Objectives: the loss of a minibatch and its derivative by the logits, apart from any network."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.kernels import softmax_cross_entropy


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a minibatch.

    derivative: (R, B, num_pdfs) float32 or of the logits' type, of the loss by the logits.
    loss_sum: (R,) float32, nats, summed over the minibatch and not averaged, as in Kaldi: a learning rate is per frame.
    correct: (R,) int64, frames whose label has the highest posterior.
    """

    derivative: Tensor
    loss_sum: Tensor
    correct: Tensor


class Objective(Protocol):
    """The loss that logits are trained for; made for each minibatch, with what is known of its frames."""

    def __call__(self, logits: Tensor) -> Loss:
        """Return the loss of (R, B, num_pdfs) logits, whose memory may be used for the derivative."""
        ...


@dataclass(frozen=True, slots=True)
class Soft:
    """Soft targets beside the labels: a second cross-entropy, `weight` times its own.

    target: (R, B, num_pdfs) float32 posteriors, or (1, B, num_pdfs) for all replicas.
    temperature: T. The network's logits are divided by it (those behind the target were too); the loss is multiplied by
        T^2, so that its derivatives are of one size at any T (Hinton, Vinyals & Dean, arXiv 1503.02531, section 2).
    """

    target: Tensor
    weight: float
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Cross-entropy of the softmax with labels (R, B) int64; that with soft targets is in the derivative alone."""

    labels: Tensor
    soft: Soft | None = None

    def __call__(self, logits: Tensor) -> Loss:
        """Return the loss of (R, B, num_pdfs) logits, which the derivative overwrites on a CPU without soft targets."""
        if logits.device.type != "cpu":
            return self.plain(logits)
        loss_sum, correct = torch.empty(len(logits)), torch.empty(len(logits), dtype=torch.int64)
        derivative = logits if self.soft is None else torch.empty(logits.shape)
        labels = self.labels.numpy()
        softmax_cross_entropy(bits(logits), labels, bits(derivative), loss_sum.numpy(), correct.numpy())
        if self.soft is not None:
            posterior = derivative.scatter_add(-1, self.labels.unsqueeze(-1), torch.ones(*self.labels.shape, 1))
            difference = _difference(self.soft, logits, posterior)
            derivative.add_(difference, alpha=self.soft.weight * self.soft.temperature)
        return Loss(derivative, loss_sum, correct)

    def plain(self, logits: Tensor) -> Loss:
        """Return the same by operations of torch, and the logits as they are."""
        index, soft = self.labels.unsqueeze(-1), self.soft
        log_posterior = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
        of_label = log_posterior.gather(-1, index)
        loss_sum = -of_label.sum(dim=(1, 2))
        correct = (of_label.squeeze(-1) >= log_posterior.amax(dim=-1)).sum(dim=1)
        posterior = log_posterior.exp_()  # in place: no longer needed
        difference = None if soft is None else _difference(soft, logits, posterior)
        posterior.scatter_add_(-1, index, posterior.new_full((), -1.0).expand(index.shape))
        if soft is not None and difference is not None:
            posterior.add_(difference, alpha=soft.weight * soft.temperature)
        return Loss(posterior, loss_sum, correct)


def _difference(soft: Soft, logits: Tensor, posterior: Tensor) -> Tensor:
    """Return (R, B, num_pdfs), posteriors at the targets' temperature less the targets."""
    if soft.temperature == 1:
        return posterior - soft.target
    return torch.softmax(logits.float() / soft.temperature, dim=-1) - soft.target
