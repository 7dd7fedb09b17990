"""R restricted Boltzmann machines of one shape in one flat buffer, trained by one step of contrastive divergence.

As Kaldi does it (nnet/nnet-rbm.cc, nnetbin/rbm-train-cd1-frmshuff.cc): the positive phase has hidden probabilities, a
binary sample of them drives the reconstruction, which is the visible units' mean, and the negative phase has hidden
probabilities again. Gaussian visible units are linear with variance 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from asr_parallel.nnet.products import add_product
from asr_parallel.nnet.spec import ALIGNMENT
from asr_parallel.nnet.sums import sums_of_squares

# Kaldi steps/nnet/pretrain_dbn.sh
WEIGHT_STDDEV = 0.1
WEIGHT_L2 = 2e-4
# Kaldi nnet/nnet-rbm.cc, RbmUpdate
LARGEST_RATIO = 2.0  # of the reconstruction's deviation to the data's
RATE_AFTER_GUARD = 0.9
SMALLEST_MEAN = 1e-4  # Kaldi steps/nnet/pretrain_dbn.sh: activations are kept this far from 0 and 1
BFLOAT16_ONE = np.uint16(0x3F80)


@dataclass(frozen=True, slots=True)
class RbmSpec:
    """Sizes of an RBM and the kind of its visible units: Gaussian of variance 1, or Bernoulli."""

    visible_dim: int
    hidden_dim: int
    gaussian: bool

    def __post_init__(self) -> None:
        if min(self.visible_dim, self.hidden_dim) < 1:
            raise ValueError(f"every size of an RBM must be positive: {self}")

    @property
    def size(self) -> int:
        """Numbers in a replica's stretch of the flat buffer."""
        used = self.visible_dim * self.hidden_dim + self.hidden_dim + self.visible_dim
        return -(-used // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Parts:
    """A flat buffer (R, P) seen as weight (R, H, V), hidden_bias (R, H) and visible_bias (R, V); they share memory."""

    flat: Tensor
    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor

    @classmethod
    def of(cls, spec: RbmSpec, flat: Tensor) -> "Parts":
        assert flat.shape[1] == spec.size
        weights = spec.hidden_dim * spec.visible_dim
        biases = weights + spec.hidden_dim
        weight = flat[:, :weights].unflatten(1, (spec.hidden_dim, spec.visible_dim))
        return cls(flat, weight, flat[:, weights:biases], flat[:, biases : biases + spec.visible_dim])


@dataclass(frozen=True, slots=True)
class Phases:
    """Both phases of a minibatch, visible (R, 2B, V) and hidden (R, 2B, H), of the products' dtype.

    The first B rows are the data and its hidden probabilities, the others the reconstruction and its hidden
    probabilities times -1: so hidden^T visible is the difference of the two correlations, in one product.
    """

    visible: Tensor
    hidden: Tensor

    @property
    def error_sum(self) -> Tensor:
        """(R,) float32: squared error of the reconstruction, summed over frames and dimensions."""
        data, reconstruction = self.visible.chunk(2, dim=1)
        return sums_of_squares([((data - reconstruction).contiguous(),)])


class StackedRbm:
    """R replicas of an RBM; `parameters` and `velocity` (R, P) float32 and `rate_factor` (R,) are all there is to them.

    dtype is that of units and products: float32, or bfloat16 with a copy of the parameters made once a step.
    rate_factor is what the variance guard has left of the learning rate.
    """

    def __init__(
        self,
        spec: RbmSpec,
        replicas: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.spec, self.dtype = spec, dtype
        self.parts = Parts.of(spec, torch.zeros(replicas, spec.size, device=device))
        self.moves = Parts.of(spec, torch.zeros(replicas, spec.size, device=device))
        self.rate_factor = torch.ones(replicas, dtype=torch.float64)
        low = dtype != torch.float32
        self._working = Parts.of(spec, torch.zeros_like(self.parameters, dtype=dtype)) if low else self.parts
        self._rooms: dict[str, Tensor] = {}

    @property
    def parameters(self) -> Tensor:
        """The flat buffer, (R, P) float32. After writing to it, call `parameters_changed`."""
        return self.parts.flat

    @property
    def velocity(self) -> Tensor:
        """The last step of every parameter, (R, P) float32, of which momentum keeps a share."""
        return self.moves.flat

    def parameters_changed(self) -> None:
        """Tell that `parameters` was written to."""
        if self._working is not self.parts:
            self._working.flat.copy_(self.parameters)

    def initialise(self, seed: int, mean_activation: Tensor | None = None) -> "StackedRbm":
        """Draw the weights, the same in every replica, from N(0, WEIGHT_STDDEV squared); returns itself.

        Args:
            mean_activation: (V,) of Bernoulli visible units, whose logits the visible biases become; hidden biases,
                and the visible ones of Gaussian units, are 0.
        """
        assert (mean_activation is None) == self.spec.gaussian
        self.parameters.zero_()
        self.velocity.zero_()
        weight = torch.empty(self.spec.hidden_dim, self.spec.visible_dim)
        self.parts.weight.copy_(weight.normal_(0, WEIGHT_STDDEV, generator=torch.Generator().manual_seed(seed)))
        if mean_activation is not None:
            self.parts.visible_bias.copy_(mean_activation.double().logit(SMALLEST_MEAN))
        self.parameters_changed()
        return self

    def hidden(self, visible: Tensor, out: Tensor | None = None) -> Tensor:
        """Probabilities (R, B, H) of the hidden units given visible ones (R, B, V), both of the RBM's dtype.

        A single RBM takes the visible units of any number of replicas.
        """
        out = visible.new_empty(*visible.shape[:2], self.spec.hidden_dim) if out is None else out
        bias, weight = self._working.hidden_bias.unsqueeze(1), self._working.weight.mT
        if len(weight) < len(visible):  # one model for all replicas' data
            bias, weight = bias.expand(len(visible), -1, -1), weight.expand(len(visible), -1, -1)
        return sigmoid(add_product(bias, visible, weight, alpha=1, out=out))

    def reconstruct(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Mean (R, B, V) of the visible units given hidden ones (R, B, H), both of the RBM's dtype."""
        out = hidden.new_empty(*hidden.shape[:2], self.spec.visible_dim) if out is None else out
        mean = add_product(self._working.visible_bias.unsqueeze(1), hidden, self._working.weight, alpha=1, out=out)
        return mean if self.spec.gaussian else sigmoid(mean)

    def _room(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory that every minibatch uses again."""
        room = self._rooms.get(name)
        if room is None or room.shape != shape:
            room = self._rooms[name] = torch.empty(shape, dtype=dtype or self.dtype, device=self.parameters.device)
        return room

    def contrast(self, data: Tensor, uniform: Tensor) -> Phases:
        """Both phases of CD-1 for data (R, B, V) of the RBM's dtype; the next call writes into the same memory.

        Args:
            uniform: (R, B, H) random uint16, all values alike; 2^16 times a probability above one is a sample of 1.
        """
        assert uniform.dtype == torch.uint16
        replicas, rows, _ = data.shape
        visible = self._room("visible", replicas, 2 * rows, self.spec.visible_dim)
        hidden = self._room("hidden", replicas, 2 * rows, self.spec.hidden_dim)
        sample = self._room("sample", replicas, rows, self.spec.hidden_dim)
        # From here on memory is aligned alike for every replica; products round otherwise where it is not
        visible[:, :rows] = data
        positive = self.hidden(visible[:, :rows], out=hidden[:, :rows])
        draw_binary(positive, uniform, out=sample)
        reconstruction = self.reconstruct(sample, out=visible[:, rows:])
        self.hidden(reconstruction, out=hidden[:, rows:]).neg_()
        return Phases(visible, hidden)

    def update(
        self, phases: Phases, rate: float, momentum: float, l2: float = WEIGHT_L2, active: Sequence[bool] | None = None
    ) -> Tensor:
        """Take a step along the likelihood's estimated gradient, or where the variance guard strikes shrink instead.

        The guard is for Gaussian units whose reconstruction has more than LARGEST_RATIO times the deviation of the
        data (over all frames and dimensions): weights and biases are scaled by the inverse ratio, momentum forgotten
        and the rate lowered until `restore_rate`.

        Args:
            rate: for the gradient averaged over the minibatch.
            momentum: share of the last step that is taken again.
            l2: of the weights alone, times the rate.
            active: which replicas' minibatches count; None: all.

        Returns:
            (R,) bool on the CPU: whether the guard struck.
        """
        replicas, twice, _ = phases.visible.shape
        rows = twice // 2
        struck = torch.zeros(replicas, dtype=torch.bool)
        if self.spec.gaussian:
            data_deviation, deviation = (_deviation(x) for x in phases.visible.chunk(2, dim=1))
            struck = (deviation > LARGEST_RATIO * data_deviation).cpu()
        for r, guarded in enumerate(struck.tolist()):
            if active is not None and not active[r]:
                struck[r] = False
                continue
            if guarded:
                self.parameters[r] *= data_deviation[r] / deviation[r]
                self.velocity[r].zero_()
                self.rate_factor[r] *= RATE_AFTER_GUARD
                continue
            own = rate * float(self.rate_factor[r])
            visible, hidden, move = phases.visible[r], phases.hidden[r], self.moves.weight[r]
            if self.dtype == torch.float32:
                torch.addmm(move, hidden.mT, visible, beta=momentum, alpha=own / rows, out=move)
            else:
                gradient = self._room("gradient", *move.shape)
                move.mul_(momentum).add_(torch.mm(hidden.mT, visible, out=gradient), alpha=own / rows)
            move.add_(self.parts.weight[r], alpha=-own * l2)
            difference = hidden.sum(dim=0, dtype=torch.float32)
            self.moves.hidden_bias[r].mul_(momentum).add_(difference, alpha=own / rows)
            data_sum, model_sum = (x.sum(dim=0, dtype=torch.float32) for x in (visible[:rows], visible[rows:]))
            self.moves.visible_bias[r].mul_(momentum).add_(data_sum - model_sum, alpha=own / rows)
            self.parameters[r].add_(self.velocity[r])
        self.parameters_changed()
        return struck

    def restore_rate(self) -> None:
        """Undo what the variance guard did to the learning rate: the momentum has taken its next step."""
        self.rate_factor.fill_(1)

    def free_energy(self, visible: Tensor) -> Tensor:
        """(R, B) float32, nats: minus the log of the unnormalised probability of visible units (R, B, V)."""
        x = visible.float()
        inside = torch.baddbmm(self.parts.hidden_bias.unsqueeze(1), x, self.parts.weight.mT)
        bias = self.parts.visible_bias.unsqueeze(1)
        outside = (x - bias).square().sum(dim=2) / 2 if self.spec.gaussian else -(x * bias).sum(dim=2)
        return outside - softplus(inside).sum(dim=2)


def sigmoid(x: Tensor) -> Tensor:
    """In place. On a CPU replica by replica: where torch ends its vector loops shows in the last bit."""
    if x.device.type != "cpu":
        return x.sigmoid_()
    for own in x:
        own.sigmoid_()
    return x


def draw_binary(probabilities: Tensor, uniform: Tensor, out: Tensor) -> Tensor:
    """A sample of 0s and 1s: out (R, B, H) of any dtype; probabilities (R, B, H), uniform (R, B, H) uint16."""
    if uniform.device.type != "cpu":
        return out.copy_(uniform.float() < probabilities.float() * 65536.0)
    low = probabilities.dtype == torch.bfloat16
    for own, random, chosen in zip(probabilities, uniform, out, strict=True):
        if low:
            _draw_bfloat16(own.view(torch.uint16).numpy(), random.numpy(), chosen.view(torch.uint16).numpy())
        else:
            _draw_float32(own.numpy(), random.numpy(), chosen.numpy())
    return out


@numba.njit(cache=True, nogil=True)
def _draw_float32(probabilities: np.ndarray, uniform: np.ndarray, out: np.ndarray) -> None:
    for i in range(probabilities.shape[0]):
        p, u, row = probabilities[i], uniform[i], out[i]
        for k in range(len(p)):
            row[k] = np.float32(1) if np.float32(u[k]) < p[k] * np.float32(65536) else np.float32(0)


@numba.njit(cache=True, nogil=True)
def _draw_bfloat16(probabilities: np.ndarray, uniform: np.ndarray, out: np.ndarray) -> None:
    """A bfloat16 is the upper half of a float32."""
    for i in range(probabilities.shape[0]):
        p, u, row = probabilities[i], uniform[i], out[i]
        for k in range(len(p)):
            value = np.uint32(np.uint32(p[k]) << np.uint32(16)).view(np.float32)
            row[k] = BFLOAT16_ONE if np.float32(u[k]) < value * np.float32(65536) else np.uint16(0)


def _deviation(x: Tensor) -> Tensor:
    """(R,) float32: standard deviation of all numbers of each (B, V)."""
    count = x[0].numel()
    mean = x.sum(dim=(1, 2), dtype=torch.float32) / count
    return (sums_of_squares([(x,)]) / count - mean.square()).clamp_min(0).sqrt()
