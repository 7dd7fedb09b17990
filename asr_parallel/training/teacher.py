"""Soft targets by a trained network, or by an ensemble of them, beside the labels."""

from pathlib import Path

import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE, EnsembleNetwork
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.objectives import Soft
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.training.init_model import check_fits


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
        """Open the networks.

        Args:
            folder: of a network or an ensemble.
            store: of the frames to be labelled.
            dtype: of matrix products, and of the frames.

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
        """Return soft targets of (R, B, input_dim) frames."""
        replicas, rows = spliced.shape[:2]
        frames = spliced.flatten(0, 1).expand(self._networks.replicas, -1, -1)
        mean = self._outputs.of_one(self._networks.logits(frames)).mean(dim=0)
        posterior = self._outputs.posterior(mean).view(replicas, rows, -1)
        return Soft(posterior, self._weight, self._outputs.temperature)
