"""The project's network as a torch module, and torch's optimisers for it, with rates as ours count them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from asr_parallel.nnet.components import Affine, Relu, Splice
from asr_parallel.nnet.stacked import StackedNetwork

OPTIMIZERS = ("sgd", "adamw", "muon")


class Rectifiers(nn.Module):
    """A network of affine layers with ReLU between them, on frames that are spliced already.

    Parameters are copies, layer by layer, of the first replica of the network it is made of.
    """

    def __init__(self, network: StackedNetwork) -> None:
        """Copy a network; ValueError when it has other components than a window, affine layers and ReLU."""
        super().__init__()
        first, *placed = network.spec.placed_components
        others = {one.component.kind for one in placed if not isinstance(one.component, Affine | Relu)}
        if others or not isinstance(first.component, Splice):
            raise ValueError(f"rivals: components {sorted(others)}; expected a window, affine layers and relu alone")
        parts: list[nn.Module] = []
        for one in placed:
            if isinstance(one.component, Affine):
                parts.append(layer := nn.Linear(one.input_dim, one.component.dim))
                views = one.views(network.parameters)
                with torch.no_grad():
                    layer.weight.copy_(views["weight"][0])
                    layer.bias.copy_(views["bias"][0])
            else:
                parts.append(nn.ReLU())
        self.layers = nn.Sequential(*parts)

    def forward(self, spliced: Tensor) -> Tensor:
        """Return logits (B, num_pdfs) of frames (B, spliced_dim)."""
        logits: Tensor = self.layers(spliced)
        return logits

    @torch.no_grad()
    def copy_to(self, network: StackedNetwork) -> None:
        """Write the parameters into the first replica of a network of the same spec."""
        affine = [one for one in network.spec.placed_components if isinstance(one.component, Affine)]
        linear = [part for part in self.layers if isinstance(part, nn.Linear)]
        for one, layer in zip(affine, linear, strict=True):
            views = one.views(network.parameters)
            views["weight"][0].copy_(layer.weight)
            views["bias"][0].copy_(layer.bias)
        network.parameters_changed()


class Optimizers:
    """One or two of torch's optimisers behind one rate.

    sgd      rate per frame of a sum over frames; with momentum m torch's rate is times 1 - m, as in our `momentum`
    adamw    torch's defaults; rate per minibatch
    muon     weights by torch.optim.Muon, with the rate's adjustment that lets it share AdamW's; biases by AdamW
    """

    def __init__(self, name: str, module: nn.Module, momentum: float = 0.0) -> None:
        """Make them for all parameters of a module; ValueError for an unknown name or a momentum out of place."""
        if name not in OPTIMIZERS:
            raise ValueError(f"optimizer {name!r}; expected one of {', '.join(OPTIMIZERS)}")
        if not 0 <= momentum < 1 or (momentum and name != "sgd"):
            raise ValueError(f"momentum {momentum} of {name}: expected from 0 to below 1, and 0 but for sgd")
        self._factor = 1 - momentum
        parameters = list(module.parameters())
        self._all: list[torch.optim.Optimizer]
        if name == "sgd":
            self._all = [torch.optim.SGD(parameters, lr=0.0, momentum=momentum)]
        elif name == "adamw":
            self._all = [torch.optim.AdamW(parameters)]
        else:
            matrices, others = _by_dimensions(parameters)
            muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw")
            self._all = [muon, torch.optim.AdamW(others)]

    def zero_grad(self) -> None:
        for one in self._all:
            one.zero_grad()

    def step(self, rate: float) -> None:
        """Move the parameters by their gradients."""
        for one in self._all:
            for group in one.param_groups:
                group["lr"] = self._factor * rate
            one.step()


def _by_dimensions(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return matrices, and the rest."""
    parameters = list(parameters)
    return [one for one in parameters if one.dim() == 2], [one for one in parameters if one.dim() != 2]
