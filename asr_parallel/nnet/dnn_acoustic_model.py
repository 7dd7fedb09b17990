"""A network, or several as one, as an acoustic model: frames of an utterance in, scaled log-likelihoods out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.config import check_features
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE, EnsembleNetwork
from asr_parallel.nnet.network import Network

BLOCK_FRAMES = 2048  # frames forwarded at once: large enough for fast products, small enough for a long utterance


@dataclass(frozen=True)
class DnnAcousticModel:
    """Hybrid acoustic model: log posterior minus log prior, the log-likelihood up to a constant of each frame.

    network: that says what features are wanted, and of which shape. log_posteriors: (B, input_dim) -> (B, num_pdfs).
    """

    network: Network
    log_posteriors: Callable[[Tensor], Tensor]
    log_prior: np.ndarray

    @property
    def num_pdfs(self) -> int:
        return self.network.spec.num_pdfs

    @classmethod
    def open(cls, model: Path) -> "DnnAcousticModel":
        """Open the network or the ensemble in the folder `model`; ValueError when it does not hold one."""
        if (model / ENSEMBLE_FILE).is_file():
            ensemble = EnsembleNetwork.open(model)
            return cls(ensemble.members[0], ensemble.log_posteriors, ensemble.log_prior)
        network = Network.open(model)
        return cls(network, lambda spliced: torch.log_softmax(network.logits(spliced), dim=1), network.log_prior)

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
                out[start : start + len(block)] = self.log_posteriors(block).numpy()
        scores: np.ndarray = out - self.log_prior
        return scores
