"""A trained network in the folder it lives in.

net.safetensors   affine0.weight (out, in), affine0.bias (out,), affine1.weight ...; float32
net.json          sizes, non-linearity, context, how features are normalised and what they were made with
log_prior.npy     (num_pdfs,) float32
"""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import atomic_file, read_json, write_json

NET_FILE = "net.safetensors"
SPEC_FILE = "net.json"
PRIOR_FILE = "log_prior.npy"

PRIOR_FLOOR = 1e-20  # Kaldi nnet1 PdfPrior
NEVER_SEEN = 1e-10  # a pdf rarer than this gets the log prior below: it is never chosen
NEVER_CHOSEN = math.sqrt(np.finfo(np.float32).max)


def log_priors(counts: np.ndarray) -> np.ndarray:
    """Return each pdf's log prior from (num_pdfs,) counts in the alignments: Kaldi's nnet1 PdfPrior, scale 1."""
    share = counts / counts.sum()
    log_prior = np.log(share + PRIOR_FLOOR)
    return np.where(share < NEVER_SEEN, NEVER_CHOSEN, log_prior).astype(np.float32)


def read_log_priors(folder: Path, num_pdfs: int) -> np.ndarray:
    """Return (num_pdfs,) of the network or ensemble in a folder; ValueError when they are damaged or of other pdfs."""
    path = folder / PRIOR_FILE
    try:
        log_prior = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no {PRIOR_FILE}; expected what stage 6 made") from error
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: truncated or not a .npy file") from error
    if log_prior.shape != (num_pdfs,):
        raise ValueError(f"{path}: {log_prior.size} priors for {num_pdfs} pdfs")
    return np.asarray(log_prior)


@dataclass(frozen=True)
class Network:
    """A trained network as decoding needs it.

    net: one replica, float32. log_prior (num_pdfs,). normalisation: of its features. feature_config: what they were
    made with, as the frame store tells.
    """

    net: StackedNetwork
    log_prior: np.ndarray
    normalisation: Normalisation
    feature_config: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> NetworkSpec:
        return self.net.spec

    def logits(self, spliced: Tensor) -> Tensor:
        """Return (B, num_pdfs), before the softmax, for windows (B, input_dim) float32.

        Longer windows have more outputs, see StackedNetwork.logits.
        """
        return self.net.logits(spliced.unsqueeze(0)).squeeze(0)

    def to(self, device: torch.device | str) -> "Network":
        """Return the same network on a device."""
        if self.net.device == torch.device(device):
            return self
        net = StackedNetwork(self.spec, device=device)
        net.parameters.copy_(self.net.parameters)
        net.parameters_changed()
        return replace(self, net=net)

    def tensors(self) -> dict[str, Tensor]:
        """Return views of the parameters and buffers by their names in net.safetensors."""
        found: dict[str, Tensor] = {}
        numbers: Counter[str] = Counter()  # of each kind of component
        for placed in self.spec.placed_components:
            kind = placed.component.kind
            found |= {f"{kind}{numbers[kind]}.{name}": t[0] for name, t in placed.views(self.net.parameters).items()}
            numbers[kind] += 1
        return found

    def save(self, folder: Path) -> None:
        """Write the three files into `folder`."""
        with atomic_file(folder / NET_FILE) as temp:
            temp.write_bytes(save({name: tensor.clone() for name, tensor in self.tensors().items()}))
        with atomic_file(folder / PRIOR_FILE) as temp, temp.open("wb") as file:
            np.save(file, self.log_prior)
        described = {
            "network": self.spec.to_json(),
            "normalisation": self.normalisation.to_json(),
            "feature_config": self.feature_config,
        }
        write_json(folder / SPEC_FILE, described)

    @classmethod
    def open(cls, folder: Path) -> "Network":
        """Open what `save` wrote, ready to decode.

        Raises:
            ValueError: a file is missing, damaged, or does not fit the others.
        """
        for name in (SPEC_FILE, NET_FILE, PRIOR_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a network made by stage 6")
        path = folder / SPEC_FILE
        described = read_json(path)
        try:
            if "spec" in described:  # up to version 0.4.0
                spec = dnn(**described["spec"])
            else:
                spec = NetworkSpec.from_json(described["network"], str(path))
            normalisation = Normalisation.from_json(described["normalisation"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: does not describe a network: {error}") from error
        try:
            stored = load_file(folder / NET_FILE)
        except SafetensorError as error:
            raise ValueError(f"{folder / NET_FILE}: not a safetensors file: {error}") from error
        network = cls(
            StackedNetwork(spec),
            read_log_priors(folder, spec.num_pdfs),
            normalisation,
            described.get("feature_config", {}),
        )
        mine = network.tensors()
        if {n: t.shape for n, t in mine.items()} != {n: t.shape for n, t in stored.items()}:
            raise ValueError(f"{folder / NET_FILE}: does not fit {SPEC_FILE}: other layers or sizes")
        for name, tensor in mine.items():
            tensor.copy_(stored[name])
        return network
