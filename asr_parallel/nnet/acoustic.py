"""A network as an acoustic model: frames of an utterance in, scaled log-likelihoods of the pdf ids out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.config import check_features
from asr_parallel.nnet.network import Network

BLOCK_FRAMES = 2048  # frames forwarded at once: large enough for fast products, small enough for a long utterance


@dataclass(frozen=True)
class DnnAcousticModel:
    """Hybrid acoustic model: log posterior minus log prior, the log-likelihood up to a constant of each frame."""

    network: Network

    @property
    def num_pdfs(self) -> int:
        return self.network.spec.num_pdfs

    @classmethod
    def open(cls, model: Path) -> "DnnAcousticModel":
        """Open the network in the folder `model`; ValueError when it does not hold one."""
        return cls(Network.open(model))

    def open_features(self, folder: Path) -> FeatureArchive:
        """The raw archive `folder`, normalised per speaker as in training; ValueError for other features than there."""
        check_features(self.network.feature_config, folder)
        return self.network.normalisation.apply(folder)

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """(T, D) normalised frames of one utterance -> (T, num_pdfs) float32.

        The first and last frame are repeated for the context, as in the frame store.
        """
        spec = self.network.spec
        context = spec.context
        padded = np.pad(features, ((context, context), (0, 0)), mode="edge").astype(np.float32)
        windows = torch.from_numpy(padded).unfold(0, 2 * context + 1, 1).transpose(1, 2)  # (T, window, D)
        out = np.empty((len(features), spec.num_pdfs), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(features), BLOCK_FRAMES):
                block = windows[start : start + BLOCK_FRAMES].reshape(-1, spec.input_dim)
                out[start : start + len(block)] = torch.log_softmax(self.network.logits(block), dim=1).numpy()
        return out - self.network.log_prior
