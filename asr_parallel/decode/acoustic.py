"""Acoustic models for the decoder: features in, log-likelihoods of all pdf ids out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.config import KIND_FILE, check_features, read_kind
from asr_parallel.hmm.gmm import GMM_FILE, DiagGmmSet

DNN_FILES = ("net.safetensors", "ensemble.json")
GMM_OPTIONS = DecoderOptions()
# Kaldi steps/nnet/decode.sh
DNN_OPTIONS = DecoderOptions(lattice_beam=8.0, acwt=0.1)


class AcousticModel(Protocol):
    """Interface of an acoustic model."""

    @property
    def num_pdfs(self) -> int: ...

    def open_features(self, folder: Path) -> FeatureArchive:
        """Return the raw archive `folder`, normalised as the model expects; ValueError when it is of another kind."""

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        """Return (T, num_pdfs) float32 for the (T, D) frames of one utterance; for a network: posterior / prior."""


@dataclass(frozen=True)
class GmmAcousticModel:
    """Gaussian mixtures on MFCC with deltas, mean-normalised per speaker.

    trained_on: kind.json of the training features; None when unknown.
    """

    gmm: DiagGmmSet
    trained_on: dict[str, Any] | None = None

    @property
    def num_pdfs(self) -> int:
        return self.gmm.num_pdfs

    def open_features(self, folder: Path) -> FeatureArchive:
        from asr_parallel.features.deltas import gmm_features

        if self.trained_on is not None:
            check_features(self.trained_on, folder)
        features = gmm_features(folder)
        if features.dim != self.gmm.dim:
            raise ValueError(f"{folder}: {features.dim} dimensions with deltas, the GMM was trained on {self.gmm.dim}")
        return features

    def log_likelihoods(self, features: np.ndarray) -> np.ndarray:
        return self.gmm.log_likelihoods(features)


def finite_scores(model: AcousticModel, features: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return the log-likelihoods of an utterance; None, and the reason, where there is nothing to decode."""
    if not len(features):
        return None, "no frames"
    log_likelihoods = model.log_likelihoods(features)
    if not np.isfinite(log_likelihoods).all():
        return None, "log-likelihoods are not all finite"
    return log_likelihoods, ""


def default_options(model: Path) -> DecoderOptions:
    """Return Kaldi's decoding options for the kind of model in the folder `model`."""
    return DNN_OPTIONS if _holds_network(model) else GMM_OPTIONS


def scoring_device(model: Path, name: str) -> str | None:
    """Return the GPU on which one process scores for all, for a device by name; None where each does, on the CPU.

    Each does on a machine without a GPU, and with a GMM system, whose scores are compiled for the CPU.

    Raises:
        ValueError: no such device.
    """
    if not _holds_network(model):
        return None
    from asr_parallel.nnet.precision import choose_device

    device = choose_device(name)
    return None if device.type == "cpu" else str(device)


def open_acoustic_model(model: Path, device: str = "cpu") -> AcousticModel:
    """Open the GMM system, the network or the ensemble of networks in the folder `model`.

    Args:
        device: for a network's scores.

    Raises:
        ValueError: it holds neither.
    """
    if (model / GMM_FILE).is_file():
        trained_on = read_kind(model) if (model / KIND_FILE).is_file() else None
        return GmmAcousticModel(DiagGmmSet.open(model), trained_on)
    if _holds_network(model):
        from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel

        return DnnAcousticModel.open(model, device)
    networks = " nor ".join(DNN_FILES)
    raise ValueError(f"{model}: neither {GMM_FILE} nor {networks}; expected a model folder made by stage 3 or 6")


def _holds_network(model: Path) -> bool:
    return any((model / name).is_file() for name in DNN_FILES)
