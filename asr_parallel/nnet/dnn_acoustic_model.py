"""A network, or several as one, as an acoustic model: frames of utterances in, scaled log-likelihoods out."""

from collections.abc import Callable, Sequence
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
    them, on the network's device -> (rows, num_pdfs).
    """

    network: Network
    log_posteriors: Callable[[Tensor], Tensor]
    log_prior: np.ndarray

    @property
    def num_pdfs(self) -> int:
        return self.network.spec.num_pdfs

    @classmethod
    def open(cls, model: Path, device: torch.device | str = "cpu") -> "DnnAcousticModel":
        """Open the network or the ensemble in the folder `model`; ValueError when it does not hold one."""
        if (model / ENSEMBLE_FILE).is_file():
            ensemble = EnsembleNetwork.open(model).to(device)
            return cls(ensemble.members[0], ensemble.log_posteriors, ensemble.log_prior)
        network = Network.open(model).to(device)
        return cls(network, lambda spliced: torch.log_softmax(network.logits(spliced), dim=1), network.log_prior)

    def open_features(self, folder: Path) -> FeatureArchive:
        """Return the raw archive `folder`, normalised per speaker as in training; ValueError for other features."""
        check_features(self.network.feature_config, folder)
        return self.network.normalisation.apply(folder)

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """Return (T, num_pdfs) float32 for (T, D) normalised frames of one utterance.

        The first and last frame are repeated for the context, as in the frame store.
        """
        out = np.empty((len(features), self.num_pdfs), dtype=np.float32)
        self.score([features], out)
        return out

    def score(self, utterances: Sequence[np.ndarray], out: np.ndarray) -> None:
        """Write the log-likelihoods of utterances, one after the other, into `out`, (frames of all, num_pdfs) float32.

        The utterances are one line of frames, each with its context on either side. The outputs for frames of context,
        which lie between two utterances, are left out.
        """
        context, device = self.network.spec.context, self.network.net.device
        utterances = [features for features in utterances if len(features)]
        if not utterances:
            return
        line = np.concatenate(
            [np.pad(features, ((context, context), (0, 0)), mode="edge").astype(np.float32) for features in utterances]
        )
        between = np.concatenate([np.repeat([False, True], [len(features), 2 * context]) for features in utterances])
        log_prior, at = torch.from_numpy(self.log_prior).to(device), 0
        with torch.inference_mode():
            for start in range(0, len(line) - 2 * context, BLOCK_FRAMES):
                block = line[start : start + BLOCK_FRAMES + 2 * context]  # one window with many outputs
                scores = self.log_posteriors(torch.from_numpy(block).to(device).view(1, -1)) - log_prior
                own = np.flatnonzero(~between[start : start + len(scores)])
                if len(own) < len(scores):
                    scores = scores[torch.from_numpy(own).to(device)]
                torch.from_numpy(out[at : at + len(own)]).copy_(scores)
                at += len(own)
        assert at == len(out)
