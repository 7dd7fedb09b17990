"""R feed-forward networks of one shape in one flat buffer, forward and backward by hand.

There is no autograd: an optimiser is given each affine layer's input and derivative, which natural gradient needs as
they are and from which every other method makes the gradient in one product.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_parallel.nnet.initial import draw
from asr_parallel.nnet.nonlinearity import nonlinearity
from asr_parallel.nnet.products import add_product, product
from asr_parallel.nnet.spec import NetworkSpec, buffer_size, layout


@dataclass(frozen=True, slots=True)
class Layers:
    """A flat buffer (R, P) seen as affine layers: weights (R, out, in) and biases (R, out) share its memory."""

    flat: Tensor
    weights: list[Tensor]
    biases: list[Tensor]

    @classmethod
    def of(cls, spec: NetworkSpec, flat: Tensor) -> "Layers":
        places = layout(spec)
        assert flat.shape[1] == buffer_size(places[-1])
        weights = [flat[:, p.start : p.bias_start].unflatten(1, (p.out, p.into)) for p in places]
        return cls(flat, weights, [flat[:, p.bias_start : p.end] for p in places])

    @classmethod
    def zeros(cls, spec: NetworkSpec, replicas: int, device: torch.device | str = "cpu") -> "Layers":
        return cls.of(spec, torch.zeros(replicas, buffer_size(layout(spec)[-1]), device=device))


@dataclass(frozen=True, slots=True)
class Backward:
    """What one minibatch brings: of every affine layer, first to last, its input and the derivative by its output.

    inputs (R, B, in) and derivatives (R, B, out) each, of the products' dtype. The loss is summed over the minibatch,
    not averaged, as in Kaldi: a learning rate is per frame.
    loss_sum (R,) float32, nats; correct (R,) int64: frames whose label has the highest posterior.
    """

    inputs: list[Tensor]
    derivatives: list[Tensor]
    loss_sum: Tensor
    correct: Tensor


@dataclass(frozen=True, slots=True)
class Soft:
    """What frames are to be told apart by beside their labels: a second cross-entropy, weight times its own.

    target: (R, B, num_pdfs) float32 posteriors, or (1, B, num_pdfs) for all replicas.
    temperature: T. The network's logits are divided by it (those behind the target were too); the loss is multiplied by
        T^2, so that its derivatives are of one size at any T (Hinton, Vinyals & Dean, arXiv 1503.02531, section 2).
    """

    target: Tensor
    weight: float
    temperature: float = 1.0


class StackedNetwork:
    """R replicas of a network; `parameters` (R, P) float32 is all there is to them.

    dtype is that of activations and products: float32, or bfloat16 with a copy of the parameters made once a step.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        replicas: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec = spec
        self.dtype = dtype
        self.layers = Layers.zeros(spec, replicas, device)
        self.nonlinearity = nonlinearity(spec.nonlinearity, spec.pnorm_group)
        low = dtype != torch.float32
        self._rooms: dict[tuple[str, int], Tensor] = {}
        self._working = Layers.of(spec, torch.zeros_like(self.parameters, dtype=dtype)) if low else self.layers

    @property
    def parameters(self) -> Tensor:
        """The flat buffer, (R, P) float32. After writing to it, call `parameters_changed`."""
        return self.layers.flat

    @property
    def replicas(self) -> int:
        return self.parameters.shape[0]

    @property
    def device(self) -> torch.device:
        return self.parameters.device

    def initialise(self, *seeds: int) -> "StackedNetwork":
        """Draw initial parameters, of one seed the same in every replica, else of a seed each; returns itself."""
        assert len(seeds) in (1, self.replicas)
        one = Layers.zeros(self.spec, 1)
        for n, seed in enumerate(seeds):
            draw(self.spec, [w[0] for w in one.weights], [b[0] for b in one.biases], seed)
            self.parameters[n:].copy_(one.flat)  # broadcast over the replicas that are left
        self.parameters_changed()
        return self

    def parameters_changed(self) -> None:
        """Tell that `parameters` was written to."""
        if self._working is not self.layers:
            self._working.flat.copy_(self.parameters)

    def take(self, model: Tensor) -> None:
        """Give the first replica the parameters (P,) of a model."""
        self.parameters[0].copy_(model)
        self.parameters_changed()

    def replica(self, r: int) -> "StackedNetwork":
        """Replica r as a network of its own that shares this one's memory."""
        one = copy.copy(self)
        one._rooms = {}
        one.layers = Layers.of(self.spec, self.parameters[r : r + 1])
        low = self._working is not self.layers
        one._working = Layers.of(self.spec, self._working.flat[r : r + 1]) if low else one.layers
        return one

    def logits(self, spliced: Tensor) -> Tensor:
        """(R, B, input_dim) of the network's dtype -> (R, B, num_pdfs), before the softmax."""
        x = spliced
        for k in range(self.spec.hidden_layers):
            x, _ = self.nonlinearity.forward(self._affine(k, x))
        return self._affine(self.spec.hidden_layers, x)

    def _affine(self, k: int, x: Tensor, out: Tensor | None = None) -> Tensor:
        weight = self._working.weights[k]
        out = x.new_empty(*x.shape[:2], weight.shape[1]) if out is None else out
        return add_product(self._working.biases[k].unsqueeze(1), x, weight.mT, alpha=1, out=out)

    def _room(self, name: str, k: int, rows: int, columns: int) -> Tensor:
        """Memory (R, rows, columns) that every minibatch uses again: to be given new pages each time is dear."""
        shape = (self.replicas, rows, columns)
        room = self._rooms.get((name, k))
        if room is None or room.shape != shape:
            room = self._rooms[name, k] = torch.empty(shape, dtype=self.dtype, device=self.device)
        return room

    def backward(self, spliced: Tensor, labels: Tensor, soft: Soft | None = None) -> Backward:
        """Loss and derivatives for a minibatch; the next call writes the inputs and derivatives into the same memory.

        Args:
            spliced: (R, B, input_dim) of the network's dtype.
            labels: (R, B) int64 pdf ids.
            soft: a further loss, in the derivatives and not in loss_sum.
        """
        inputs, saved, rows = [spliced], [], spliced.shape[1]
        for k in range(self.spec.hidden_layers):
            z = self._room("z", k, rows, self._working.weights[k].shape[1])
            output, kept = self.nonlinearity.forward(self._affine(k, inputs[-1], out=z))
            inputs.append(output)
            saved.append(kept)
        logits = self._affine(self.spec.hidden_layers, inputs[-1])
        log_posterior = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
        of_label = log_posterior.gather(-1, labels.unsqueeze(-1))
        loss_sum = -of_label.sum(dim=(1, 2))
        correct = (of_label.squeeze(-1) >= log_posterior.amax(dim=-1)).sum(dim=1)
        posterior = log_posterior.exp_()  # in place: no longer needed
        off = None if soft is None else _off(soft, logits, posterior)
        posterior.scatter_add_(-1, labels.unsqueeze(-1), posterior.new_full((), -1.0).expand(*labels.shape, 1))
        if soft is not None and off is not None:
            posterior.add_(off, alpha=soft.weight * soft.temperature)
        derivatives = [posterior.to(self.dtype)]
        for k in range(self.spec.hidden_layers, 0, -1):
            weight = self._working.weights[k]
            through = product(derivatives[-1], weight, out=self._room("d", k, rows, weight.shape[2]))
            derivatives.append(self.nonlinearity.backward(through, inputs[k], saved[k - 1]))
        derivatives.reverse()
        return Backward(inputs, derivatives, loss_sum, correct)


def _off(soft: Soft, logits: Tensor, posterior: Tensor) -> Tensor:
    """(R, B, num_pdfs): how far posteriors at soft's temperature are above its target."""
    if soft.temperature == 1:
        return posterior - soft.target
    return torch.softmax(logits.float() / soft.temperature, dim=-1) - soft.target
