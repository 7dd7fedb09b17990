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

    network: says what features are wanted, and of which shape. log_posteriors: windows as StackedNetwork.logits takes
    them -> (rows, num_pdfs).
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
        """Return the raw archive `folder`, normalised per speaker as in training; ValueError for other features."""
        check_features(self.network.feature_config, folder)
        return self.network.normalisation.apply(folder)

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """Return (T, num_pdfs) float32 for (T, D) normalised frames of one utterance.

        The first and last frame are repeated for the context, as in the frame store.
        """
        spec = self.network.spec
        context = spec.context
        padded = np.pad(features, ((context, context), (0, 0)), mode="edge").astype(np.float32)
        out = np.empty((len(features), spec.num_pdfs), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(features), BLOCK_FRAMES):
                block = padded[start : start + BLOCK_FRAMES + 2 * context]  # one window with many outputs
                of_block = self.log_posteriors(torch.from_numpy(block).view(1, -1))
                out[start : start + len(of_block)] = of_block.numpy()
        log_likelihoods: np.ndarray = out - self.log_prior
        return log_likelihoods
