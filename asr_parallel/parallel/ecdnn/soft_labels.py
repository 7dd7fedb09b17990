"""Posteriors of many frames, stored by their most probable pdfs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOP = 16  # pdfs of a frame that are kept; see benchmarks/RESULTS.md for what is lost with the others


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """The n most probable pdf_ids of each frame; the rest of the probability is spread evenly over all others.

    indices (..., F, n) int16, int32 for more than 32,768 pdfs; probabilities (..., F, n) float16: 4 n or 6 n bytes a
    frame, where all posteriors in float32 take 4 times the number of pdfs.
    """

    indices: Tensor
    probabilities: Tensor
    num_pdfs: int

    @classmethod
    def zeros(cls, shape: tuple[int, ...], num_pdfs: int, top: int, device: torch.device | str = "cpu") -> SoftLabels:
        """Return empty labels for frames of this shape."""
        import torch

        size = (*shape, min(top, num_pdfs))
        kind = torch.int16 if num_pdfs <= np.iinfo(np.int16).max + 1 else torch.int32
        return cls(
            torch.zeros(size, dtype=kind, device=device),
            torch.zeros(size, dtype=torch.float16, device=device),
            num_pdfs,
        )

    @classmethod
    def of(cls, posterior: Tensor, top: int) -> SoftLabels:
        """Return the labels of (..., F, num_pdfs) posteriors."""
        labels = cls.zeros(tuple(posterior.shape[:-1]), posterior.shape[-1], top, posterior.device)
        labels.put(posterior)
        return labels

    def part(self, *index: slice | int) -> SoftLabels:
        """Return those of some of the frames, sharing memory."""
        return SoftLabels(self.indices[index], self.probabilities[index], self.num_pdfs)

    def put(self, posterior: Tensor) -> None:
        """Store (..., F, num_pdfs) posteriors."""
        most, where = posterior.topk(self.indices.shape[-1], dim=-1)
        self.probabilities.copy_(most)
        self.indices.copy_(where)

    def dense(self) -> Tensor:
        """Return (..., F, num_pdfs) float32; each frame's sum is 1."""
        kept = self.probabilities.float()
        total = kept.sum(dim=-1, keepdim=True)
        others = self.num_pdfs - kept.shape[-1]
        if others:
            rest = (1 - total).clamp_min_(0) / others
            kept = kept / total.clamp_min(1)  # by rounding it may be above
            full = rest.expand(*rest.shape[:-1], self.num_pdfs).contiguous()
        else:
            kept, full = kept / total, kept.new_zeros((*kept.shape[:-1], self.num_pdfs))
        return full.scatter_(-1, self.indices.long(), kept)

    @property
    def nbytes(self) -> int:
        return self.indices.nbytes + self.probabilities.nbytes
