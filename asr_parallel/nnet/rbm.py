"""R restricted Boltzmann machines of one shape in one flat buffer, trained by one step of contrastive divergence.

As Kaldi does it (nnet/nnet-rbm.cc, nnetbin/rbm-train-cd1-frmshuff.cc): the positive phase has hidden probabilities, a
binary sample of them drives the reconstruction, which is the visible units' mean, and the negative phase has hidden
probabilities again. Gaussian visible units are linear with variance 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from asr_parallel.nnet.choices import WEIGHT_L2
from asr_parallel.nnet.products import add_product
from asr_parallel.nnet.rbm_parts import Parts, RbmSpec
from asr_parallel.nnet.rbm_step import Model, Rates, StepResult, step_elsewhere, step_on_cpu
from asr_parallel.nnet.sampling import draw_binary

# Kaldi steps/nnet/pretrain_dbn.sh
WEIGHT_STDDEV = 0.1
SMALLEST_MEAN = 1e-4  # activations are kept this far from 0 and 1


@dataclass(frozen=True, slots=True)
class RbmPhases:
    """Both phases of a minibatch, visible (R, 2B, V) and hidden (R, 2B, H), of the products' dtype.

    The first B rows are the data and its hidden probabilities, the others the reconstruction and its hidden
    probabilities times -1: so hidden^T visible is the difference of the two correlations, in one product.
    """

    visible: Tensor
    hidden: Tensor


class StackedRbm:
    """R replicas of an RBM; `parameters` and `velocity` (R, P) float32 and `lr_scale` (R,) are all there is to them.

    dtype is that of units and products: float32, or bfloat16 with a copy of the parameters made once a step.
    lr_scale is what the variance guard has left of the learning rate.
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
        self.lr_scale = torch.ones(replicas, dtype=torch.float64, device=device)
        low = dtype != torch.float32
        self._working = Parts.of(spec, torch.zeros_like(self.parameters, dtype=dtype)) if low else self.parts
        self._model = Model(self.parts, self.moves, self._working if low else None, self.lr_scale, spec.gaussian)
        self._workspace: dict[str, Tensor] = {}

    @property
    def parameters(self) -> Tensor:
        """The flat buffer, (R, P) float32. After writing to it, call `parameters_changed`."""
        return self.parts.flat

    @property
    def velocity(self) -> Tensor:
        """The last step of every parameter, (R, P) float32, of which momentum keeps a share."""
        return self.moves.flat

    def parameters_changed(self) -> None:
        """Update what depends on `parameters`, which was written to."""
        if self._working is not self.parts:
            self._working.flat.copy_(self.parameters)

    def initialise(self, seed: int, mean_activation: Tensor | None = None) -> "StackedRbm":
        """Draw the weights, the same in every replica, from N(0, WEIGHT_STDDEV squared); return itself.

        Args:
            seed: of the weights.
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
        """Return probabilities (R, B, H) of the hidden units given visible ones (R, B, V), both of the RBM's dtype.

        A single RBM takes the visible units of any number of replicas.
        """
        out = visible.new_empty(*visible.shape[:2], self.spec.hidden_dim) if out is None else out
        bias, weight = self._working.hidden_bias.unsqueeze(1), self._working.weight.mT
        if len(weight) < len(visible):  # one model for all replicas' data
            bias, weight = bias.expand(len(visible), -1, -1), weight.expand(len(visible), -1, -1)
        return sigmoid(add_product(bias, visible, weight, alpha=1, out=out))

    def reconstruct(self, hidden: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the mean (R, B, V) of the visible units given hidden ones (R, B, H), both of the RBM's dtype."""
        out = hidden.new_empty(*hidden.shape[:2], self.spec.visible_dim) if out is None else out
        mean = add_product(self._working.visible_bias.unsqueeze(1), hidden, self._working.weight, alpha=1, out=out)
        return mean if self.spec.gaussian else sigmoid(mean)

    def _workspace_tensor(self, name: str, *shape: int) -> Tensor:
        """Return memory that every minibatch uses again."""
        found = self._workspace.get(name)
        if found is None or found.shape != shape:
            found = self._workspace[name] = torch.empty(shape, dtype=self.dtype, device=self.parameters.device)
        return found

    def contrast(self, data: Tensor, seeds: Sequence[int]) -> RbmPhases:
        """Return both phases of CD-1 for a minibatch; the next call writes into the same memory.

        Args:
            data: (R, B, V) of the RBM's dtype.
            seeds: of the replicas' samples, R numbers below 2^64, others for every minibatch.
        """
        replicas, rows, _ = data.shape
        visible = self._workspace_tensor("visible", replicas, 2 * rows, self.spec.visible_dim)
        hidden = self._workspace_tensor("hidden", replicas, 2 * rows, self.spec.hidden_dim)
        sample = self._workspace_tensor("sample", replicas, rows, self.spec.hidden_dim)
        visible[:, :rows] = data  # dearer otherwise: two products, or as much copied by who makes the data
        positive = self.hidden(data, out=hidden[:, :rows])
        draw_binary(positive, seeds, out=sample)
        reconstruction = self.reconstruct(sample, out=visible[:, rows:])
        self.hidden(reconstruction, out=hidden[:, rows:]).neg_()
        return RbmPhases(visible, hidden)

    def update(
        self, phases: RbmPhases, rate: float, momentum: float, l2: float = WEIGHT_L2, active: Tensor | None = None
    ) -> StepResult:
        """Take a step along the likelihood's estimated gradient, or where the variance guard strikes shrink instead.

        The guard is for Gaussian units whose reconstruction has more than LARGEST_RATIO times the deviation of the
        data (each over frames, summed over dimensions): weights and biases are scaled by the inverse ratio, momentum
        forgotten and the rate lowered until `restore_rate`.

        Args:
            phases: of the minibatch.
            rate: for the gradient averaged over the minibatch.
            momentum: share of the last step that is taken again.
            l2: of the weights alone, times the rate.
            active: (R,) bool, which replicas' minibatches count; None: all.
        """
        on_cpu, gradient = phases.visible.device.type == "cpu", None
        if not on_cpu or self.dtype != torch.float32:
            replicas = 1 if on_cpu else len(self.parameters)
            gradient = self._workspace_tensor("gradient", replicas, self.spec.hidden_dim, self.spec.visible_dim)
        take = step_on_cpu if on_cpu else step_elsewhere
        return take(self._model, phases.visible, phases.hidden, gradient, Rates(rate, momentum, l2), active)

    def restore_rate(self) -> None:
        """Undo what the variance guard did to the learning rate: the momentum has taken its next step."""
        self.lr_scale.fill_(1)

    def free_energy(self, visible: Tensor) -> Tensor:
        """Return (R, B) float32, nats: minus the log of the unnormalised probability of visible units (R, B, V)."""
        x = visible.float()
        inside = torch.baddbmm(self.parts.hidden_bias.unsqueeze(1), x, self.parts.weight.mT)
        bias = self.parts.visible_bias.unsqueeze(1)
        outside = (x - bias).square().sum(dim=2) / 2 if self.spec.gaussian else -(x * bias).sum(dim=2)
        return outside - softplus(inside).sum(dim=2)


def sigmoid(x: Tensor) -> Tensor:
    """Apply it in place, on a CPU replica by replica: where torch ends its vector loops shows in the last bit."""
    if x.device.type != "cpu":
        return x.sigmoid_()
    for own in x:
        own.sigmoid_()
    return x
