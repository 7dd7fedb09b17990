"""Training on what a trained network, or an ensemble of them, says of the frames, beside their labels."""

from pathlib import Path

import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE, EnsembleNetwork
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.objectives import Soft
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork


class Teacher:
    """Distillation (Hinton, Vinyals & Dean, arXiv 1503.02531): the loss is CE(labels) + lambda CE(teacher).

    name         symbol
    weight       lambda
    temperature  T       see nnet/stacked.py, Soft

    Compressing an ensemble into one network of its members' size is the last step of EC-DNN (Sun et al., arXiv
    1606.00575), done once.
    """

    def __init__(
        self,
        folder: Path,
        store: FrameStore,
        weight: float,
        temperature: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Args:
            folder: of a network or an ensemble.
            store: of the frames that it will be asked about.
            dtype: of its products, and of the frames.

        Raises:
            ValueError: there is neither, or it is for other frames or pdfs.
        """
        if (folder / ENSEMBLE_FILE).is_file():
            ensemble = EnsembleNetwork.open(folder)
            members, average = ensemble.members, ensemble.outputs.average
        else:
            members, average = [Network.open(folder)], "posterior"
        check_fits(folder, members[0], store)
        self._networks = StackedNetwork(members[0].spec, len(members), device, dtype)
        self._networks.parameters.copy_(torch.cat([member.net.parameters for member in members]))
        self._networks.parameters_changed()
        self._outputs, self._weight = Outputs(average, temperature), weight

    def soft(self, spliced: Tensor) -> Soft:
        """What it says of (R, B, input_dim) frames."""
        replicas, rows = spliced.shape[:2]
        frames = spliced.flatten(0, 1).expand(self._networks.replicas, -1, -1)
        mean = self._outputs.of_one(self._networks.logits(frames)).mean(dim=0)
        posterior = self._outputs.posterior(mean).unflatten(0, (replicas, rows))
        return Soft(posterior, self._weight, self._outputs.temperature)


def check_fits(folder: Path, network: Network, store: FrameStore) -> None:
    """ValueError when a network was trained on frames of another kind than a store's, or for other pdfs."""
    mine = (network.spec.input_dim, network.spec.num_pdfs, network.feature_config)
    expected = (store.spliced_dim, store.num_pdfs, store.feature_config)
    for name, own, wanted in zip(("spliced dimensions", "pdfs", "features"), mine, expected, strict=True):
        if own != wanted:
            raise ValueError(f"{folder}: a network of {own} {name}; expected {wanted}, as in the frame store")
    if network.normalisation != store.normalisation:
        raise ValueError(f"{folder}: its frames were normalised otherwise than the frame store's; expected the same")


def start_from(folder: Path, store: FrameStore, network: StackedNetwork) -> None:
    """Give all replicas the parameters of a trained network; ValueError when it is of other shape or other frames."""
    trained = Network.open(folder)
    check_fits(folder, trained, store)
    if trained.spec != network.spec:
        raise ValueError(f"{folder}: a network of {trained.spec}; expected {network.spec}, as the options say")
    network.parameters.copy_(trained.net.parameters)
    network.parameters_changed()
