"""Modules of PyTorch as models of workers: any torch.nn.Module, with any optimiser, can be trained by any algorithm."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class ModuleReplicas:
    """The modules of a process's workers, with all of their numbers in one flat buffer, a row for each module.

    Parameters and float32 buffers (a batch normalisation's running mean, say) become views of the buffer: what an
    algorithm writes there is in the modules at once, and what an optimiser writes into a module is in the buffer.
    Integer buffers, which count, stay the module's own.

    parameters: (R, P) float32.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """Move the numbers of one or more modules of one kind, where they are to stay: on the CPU, or on one GPU.

        Modules of all processes must begin with the same numbers. An optimiser may be made before or after.

        Raises:
            ValueError: a tensor of another type than float32, or modules that differ in names or shapes.
        """
        found = [dict(_tensors(module)) for module in modules]
        shapes = [{name: tensor.shape for name, tensor in own.items()} for own in found]
        if not found or any(own != shapes[0] for own in shapes) or not found[0]:
            raise ValueError("modules of workers: expected one or more, of the same parameters and shapes")
        size = sum(tensor.numel() for tensor in found[0].values())
        self.parameters = torch.zeros(len(modules), size, device=next(iter(found[0].values())).device)
        with torch.no_grad():
            for row, own in zip(self.parameters, found, strict=True):
                for tensor, view in zip(own.values(), row.split([t.numel() for t in own.values()]), strict=True):
                    view.copy_(tensor.flatten())
                    tensor.data = view.view(tensor.shape)

    def parameters_changed(self) -> None:
        """Keep all as it is: the modules share the buffer's memory."""

    def load(self, model: Tensor) -> None:
        """Give all modules the numbers (P,) of a model, which may be one of theirs."""
        self.parameters.copy_(model.clone())


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, a tensor that has several names once."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name}: {tensor.dtype}; expected torch.float32")
        yield name, tensor
