"""Gaussian mixtures with diagonal covariances, one for each pdf id (Kaldi: src/gmm/am-diag-gmm.h).

All components of all pdfs lie in flat tensors, pdf after pdf. The log-likelihood of a component is linear in
[x, x^2], so those of all frames and components are one matrix product. A pdf's is the log-sum-exp over its components.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from asr_parallel.record.compiled import njit
from asr_parallel.record.files import atomic_file

GMM_FILE = "gmm.safetensors"
CHUNK_FRAMES = 256  # frames scored at once: their component scores stay in the processor's cache
NEGLIGIBLE = np.float32(-24.0)  # a component this far (natural log) below the pdf's best adds nothing in float32


@njit(nogil=True, fastmath={"contract"})
def _segment_logsumexp(scores: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None:
    """Compute out[p, t] = log sum exp of scores[offsets[p]:offsets[p + 1], t], all float32.

    The inner loops run along the frames, which compilers turn into vector instructions. For the same reason exp(d) is
    written out: the Taylor polynomial of exp(d / 64), to the 64th power by six squarings; relative error below 1e-6
    for d > -8; smaller terms hardly contribute.
    """
    T = scores.shape[1]
    one, half, third, fourth, fifth = (
        np.float32(1.0),
        np.float32(1.0 / 2.0),
        np.float32(1.0 / 6.0),
        np.float32(1.0 / 24.0),
        np.float32(1.0 / 120.0),
    )
    for p in range(len(offsets) - 1):
        best = out[p]
        best[:] = scores[offsets[p]]
        for g in range(offsets[p] + 1, offsets[p + 1]):
            row = scores[g]
            for t in range(T):
                best[t] = max(best[t], row[t])
        total = np.zeros(T, dtype=np.float32)
        for g in range(offsets[p], offsets[p + 1]):
            row = scores[g]
            for t in range(T):
                x = max(row[t] - best[t], NEGLIGIBLE) * np.float32(1.0 / 64.0)
                y = one + x * (one + x * (half + x * (third + x * (fourth + x * fifth))))
                y *= y
                y *= y
                y *= y
                y *= y
                y *= y
                y *= y
                total[t] += y
        for t in range(T):
            best[t] += np.log(total[t])


@dataclass(frozen=True)
class DiagGmmSet:
    """Mixtures of P pdfs with G components in all, D dimensions.

    weights (G,), means (G, D), variances (G, D): float32 tensors; the weights of a pdf sum to 1.
    offsets (P + 1,) int64 array: pdf p owns the components offsets[p] .. offsets[p + 1] - 1, at least one.
    """

    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor
    offsets: np.ndarray

    @property
    def num_pdfs(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_gauss(self) -> int:
        return len(self.weights)

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def pdf_of_gauss(self) -> np.ndarray:
        """(G,) int64: the pdf that each component belongs to."""
        return np.repeat(np.arange(self.num_pdfs), np.diff(self.offsets))

    @cached_property
    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Constants (G,) and coefficients (G, 2 D) of the components' scores in [x, x^2], float32."""
        weights, means, variances = (v.double() for v in (self.weights, self.means, self.variances))
        constants = weights.log() - 0.5 * (
            self.dim * math.log(2 * math.pi) + variances.log().sum(1) + (means**2 / variances).sum(1)
        )
        return constants.float(), torch.cat([means / variances, -0.5 / variances], dim=1).float()

    def component_scores(self, expanded: torch.Tensor, components: slice | torch.Tensor) -> torch.Tensor:
        """Return log(weight * density) of some components, (T, components); `expanded` is `expand(x)`."""
        constants, coefficients = self.linear
        return torch.addmm(constants[components], expanded, coefficients[components].T)

    def log_likelihoods(self, features: np.ndarray, pdfs: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return log-likelihood of each frame under each pdf, or under some `pdfs` in the order given.

        Args:
            features: (T, D) frames.

        Returns:
            (T, P) or (T, len(pdfs)) float32, natural logarithm.

        Raises:
            ValueError: features of another dimension.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"features of shape {features.shape} for a model of {self.dim} dimensions")
        constants, coefficients, offsets = *self.linear, self.offsets
        if pdfs is not None:
            chosen = np.asarray(pdfs, dtype=np.int64)
            sizes = np.diff(self.offsets)[chosen]
            offsets = np.concatenate([[0], np.cumsum(sizes)])
            rows = torch.from_numpy(np.repeat(self.offsets[chosen] - offsets[:-1], sizes) + np.arange(offsets[-1]))
            constants, coefficients = constants[rows], coefficients[rows]
        out = np.empty((len(features), len(offsets) - 1), dtype=np.float32)
        for start in range(0, len(features), CHUNK_FRAMES):
            chunk = expand(features[start : start + CHUNK_FRAMES])
            scores = torch.addmm(constants[:, None], coefficients, chunk.T)
            of_pdfs = np.empty((len(offsets) - 1, len(chunk)), dtype=np.float32)
            _segment_logsumexp(scores.numpy(), offsets, of_pdfs)
            out[start : start + CHUNK_FRAMES] = of_pdfs.T
        return out

    def save(self, folder: Path) -> None:
        """Write `gmm.safetensors` into `folder`."""
        tensors = {"weights": self.weights, "means": self.means, "variances": self.variances}
        with atomic_file(folder / GMM_FILE) as temp:
            temp.write_bytes(save(tensors | {"offsets": torch.from_numpy(self.offsets)}))

    @classmethod
    def open(cls, folder: Path) -> "DiagGmmSet":
        """Read what `save` wrote; ValueError when it is not there or damaged."""
        if not (folder / GMM_FILE).is_file():
            raise ValueError(f"{folder}: no {GMM_FILE}; expected a GMM folder made by stage 3")
        try:
            tensors = load_file(folder / GMM_FILE)
        except SafetensorError as error:
            raise ValueError(f"{folder / GMM_FILE}: damaged: {error}") from error
        return cls(tensors["weights"], tensors["means"], tensors["variances"], tensors["offsets"].numpy())

    @classmethod
    def single(cls, means: np.ndarray, variances: np.ndarray) -> "DiagGmmSet":
        """Return one component for each pdf, from (P, D) arrays."""
        return cls(
            torch.ones(len(means)),
            torch.from_numpy(np.ascontiguousarray(means, dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(variances, dtype=np.float32)),
            np.arange(len(means) + 1, dtype=np.int64),
        )


def expand(features: np.ndarray) -> torch.Tensor:
    """Return [x, x^2] of each frame: (T, D) -> (T, 2 D) float32 tensor."""
    x = torch.from_numpy(np.array(features, dtype=np.float32))
    return torch.cat([x, x * x], dim=1)
