"""The mean output of several networks for the same frames."""

import math

import torch
from torch import Tensor

from asr_parallel.nnet.choices import AVERAGES


class Outputs:
    """The mean of K models' outputs p_k(y | x), at a temperature (Sun et al., arXiv 1606.00575, aggregation).

    posterior      p(y | x) = mean over k of p_k(y | x), as in the paper
    log-posterior  p(y | x) ~ exp(mean over k of log p_k(y | x)); the mean of logits is the same but for a number a
                   frame, which making it a distribution takes away

    Either way -log p(y | x) is at most the mean of the models': -log is convex, and what the second is divided by to be
    a distribution is at most 1.
    """

    def __init__(self, average: str = "posterior", temperature: float = 1.0) -> None:
        """Raise ValueError for an option out of range."""
        if average not in AVERAGES:
            raise ValueError(f"unknown ensemble_average {average!r}; expected one of {', '.join(AVERAGES)}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature {temperature}: expected a number above 0")
        self.average, self.temperature = average, temperature

    def of_one(self, logits: Tensor) -> Tensor:
        """Return what is averaged, for (..., num_pdfs) logits of one model: float32, or the logits' type if wider."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        if self.temperature != 1:
            logits = logits.to(dtype) / self.temperature
        return (torch.softmax if self.average == "posterior" else torch.log_softmax)(logits, dim=-1, dtype=dtype)

    def of_posterior(self, posterior: Tensor) -> Tensor:
        """Return the output to average for (..., num_pdfs) posteriors of one model."""
        return posterior if self.average == "posterior" else _log(posterior)

    def posterior(self, mean: Tensor) -> Tensor:
        """Return the posteriors of all models for a (..., num_pdfs) mean of outputs."""
        return mean if self.average == "posterior" else torch.softmax(mean, dim=-1)

    def log_posterior(self, mean: Tensor) -> Tensor:
        """Return the logarithm of `posterior`."""
        return _log(mean) if self.average == "posterior" else torch.log_softmax(mean, dim=-1)


def _log(posterior: Tensor) -> Tensor:
    return posterior.clamp_min(torch.finfo(posterior.dtype).tiny).log()
