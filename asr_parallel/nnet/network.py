"""A feed-forward network from spliced frames to pdf ids, plain torch, and the folder it lives in.

net.safetensors   weights, float32
net.json          sizes, activation, context, and how features are normalised
log_prior.npy     (num_pdfs,) float32
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import read_json, whole_file, write_json

NET_FILE = "net.safetensors"
SPEC_FILE = "net.json"
PRIOR_FILE = "log_prior.npy"

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}

# Weights of sigmoid networks as Kaldi's nnet1 draws them without pretraining (utils/nnet/make_nnet_proto.py):
# deviation 0.1 times the Glorot-like scale, the first layer narrower, biases from -4 to 0.
SIGMOID_STDDEV = 0.1
GLOROT = 35.0
FIRST_LAYER_SCALE = math.sqrt(1 / 12)
BIAS_MEAN, BIAS_RANGE = -2.0, 4.0

PRIOR_FLOOR = 1e-20  # Kaldi nnet1 PdfPrior
NEVER_SEEN = 1e-10  # a pdf rarer than this gets the log prior below: it is never chosen
NEVER_CHOSEN = math.sqrt(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Sizes of a network: frame_dim features in each of 2 * context + 1 frames, hidden layers, num_pdfs outputs."""

    frame_dim: int
    context: int
    hidden_layers: int
    hidden_dim: int
    num_pdfs: int
    activation: str = "sigmoid"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        if min(self.frame_dim, self.hidden_layers, self.hidden_dim, self.num_pdfs) < 1 or self.context < 0:
            raise ValueError(f"every size of a network must be positive: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: expected a probability below 1")

    @property
    def input_dim(self) -> int:
        return (2 * self.context + 1) * self.frame_dim


class FeedForward(nn.Module):
    """Hidden layers of one size, then a linear layer whose outputs are logits of the pdf ids."""

    def __init__(self, spec: NetworkSpec, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        sizes = [spec.input_dim] + [spec.hidden_dim] * spec.hidden_layers
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[spec.activation]()]
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], spec.num_pdfs))
        self._draw(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _draw(self, random: torch.Generator) -> None:
        """Initial weights: Kaldi's for sigmoids, He et al. (2015) for ReLU; a ReLU network starts undecided."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for k, layer in enumerate(linear):
            first, last = k == 0, k == len(linear) - 1
            if self.spec.activation == "sigmoid":
                deviation = SIGMOID_STDDEV * GLOROT * math.sqrt(2 / (layer.in_features + layer.out_features))
                layer.weight.normal_(0, deviation * (FIRST_LAYER_SCALE if first else 1), generator=random)
                low = BIAS_MEAN - BIAS_RANGE / 2
                layer.bias.uniform_(low, low + BIAS_RANGE, generator=random)
            else:
                layer.weight.normal_(0, math.sqrt(2 / layer.in_features), generator=random)
                layer.bias.zero_()
                if last:
                    layer.weight.mul_(0.1)
            if last:
                layer.bias.zero_()

    def forward(self, spliced: Tensor) -> Tensor:
        """(B, input_dim) -> logits (B, num_pdfs)."""
        logits: Tensor = self.layers(spliced)
        return logits


def log_priors(counts: np.ndarray) -> np.ndarray:
    """Log prior of each pdf from its (num_pdfs,) counts in the alignments: Kaldi's nnet1 PdfPrior, scale 1."""
    share = counts / counts.sum()
    log_prior = np.log(share + PRIOR_FLOOR)
    return np.where(share < NEVER_SEEN, NEVER_CHOSEN, log_prior).astype(np.float32)


@dataclass(frozen=True)
class Network:
    """All that decoding needs: the net, its log priors (num_pdfs,), and how its features are normalised."""

    net: FeedForward
    log_prior: np.ndarray
    normalisation: Normalisation

    def save(self, folder: Path) -> None:
        """Write the three files into `folder`."""
        with whole_file(folder / NET_FILE) as aside:
            aside.write_bytes(save({name: tensor.contiguous() for name, tensor in self.net.state_dict().items()}))
        with whole_file(folder / PRIOR_FILE) as aside, aside.open("wb") as file:
            np.save(file, self.log_prior)
        write_json(folder / SPEC_FILE, {"spec": asdict(self.net.spec), "normalisation": self.normalisation.to_json()})

    @classmethod
    def open(cls, folder: Path) -> "Network":
        """Open what `save` wrote, ready to decode.

        Raises:
            ValueError: a file is missing, damaged, or does not fit the others.
        """
        for name in (SPEC_FILE, NET_FILE, PRIOR_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a network made by stage 6")
        described = read_json(folder / SPEC_FILE)
        net = FeedForward(NetworkSpec(**described["spec"]))
        try:
            net.load_state_dict(load_file(folder / NET_FILE))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / NET_FILE}: does not fit {SPEC_FILE}: {error}") from error
        log_prior = np.load(folder / PRIOR_FILE, allow_pickle=False)
        if log_prior.shape != (net.spec.num_pdfs,):
            raise ValueError(f"{folder / PRIOR_FILE}: {len(log_prior)} priors for {net.spec.num_pdfs} pdfs")
        return cls(net.eval(), log_prior, Normalisation.from_json(described["normalisation"]))
