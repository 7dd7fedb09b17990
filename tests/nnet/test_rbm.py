"""RBMs against exact enumeration of all their states."""

import itertools
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from asr_parallel.nnet.rbm import WEIGHT_STDDEV, RbmPhases, StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.nnet.rbm_step import RATE_AFTER_GUARD, Rates, StepResult, step_elsewhere, step_on_cpu

VISIBLE, HIDDEN = 5, 4


def states(count: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=count)))


def random_rbm(gaussian: bool, seed: int = 0, scale: float = 0.4) -> StackedRbm:
    rbm = StackedRbm(RbmSpec(VISIBLE, HIDDEN, gaussian))
    rbm.parameters.normal_(0, scale, generator=torch.Generator().manual_seed(seed))
    return rbm


def log_partition(weight: Tensor, hidden_bias: Tensor, visible_bias: Tensor, gaussian: bool) -> Tensor:
    """Log of the sum (Gaussian: integral, without its constant) over all states, by enumeration of the hidden ones."""
    h = states(HIDDEN)
    through = h @ weight
    if gaussian:
        inner = (through * visible_bias).sum(1) + through.square().sum(1) / 2
    else:
        inner = torch.nn.functional.softplus(visible_bias + through).sum(1)
    return torch.logsumexp(h @ hidden_bias + inner, 0)


def nll(rbm: StackedRbm, data: Tensor) -> float:
    parts = rbm.parts
    z = log_partition(parts.weight[0], parts.hidden_bias[0], parts.visible_bias[0], rbm.spec.gaussian)
    return float(rbm.free_energy(data[None]).mean() + z)


def toy(gaussian: bool, rows: int = 200) -> Tensor:
    random = torch.Generator().manual_seed(3)
    prototypes = torch.tensor([[1.0, 1, 0, 0, 1], [0, 0, 1, 1, 0]])
    data = prototypes[torch.randint(2, (rows,), generator=random)]
    if gaussian:
        return 2 * data - 1 + 0.3 * torch.randn(rows, VISIBLE, generator=random)
    return (data - (torch.rand(rows, VISIBLE, generator=random) < 0.05).float()).abs()


def exact_gradient(rbm: StackedRbm, data: Tensor) -> list[Tensor]:
    """Of the mean log-likelihood, by autograd through the enumeration."""
    parts = [p[0].clone().requires_grad_() for p in (rbm.parts.weight, rbm.parts.hidden_bias, rbm.parts.visible_bias)]
    weight, hidden_bias, visible_bias = parts
    outside = -(data - visible_bias).square().sum(1) / 2 if rbm.spec.gaussian else data @ visible_bias
    inside = torch.nn.functional.softplus(hidden_bias + data @ weight.T).sum(1)
    likelihood = (outside + inside).mean() - log_partition(weight, hidden_bias, visible_bias, rbm.spec.gaussian)
    return list(torch.autograd.grad(likelihood, parts))


def estimate(rbm: StackedRbm, data: Tensor, steps: int) -> list[Tensor]:
    """The step that `update` takes from the ends of Gibbs chains of true samples."""
    random = torch.Generator().manual_seed(7)
    visible = data[None]
    for _ in range(steps):
        hidden = torch.bernoulli(rbm.hidden(visible), generator=random)
        mean = rbm.reconstruct(hidden)
        noise = torch.randn(mean.shape, generator=random)
        visible = mean + noise if rbm.spec.gaussian else torch.bernoulli(mean, generator=random)
    both = torch.cat([data[None], visible], dim=1)
    hidden = rbm.hidden(both)
    hidden[:, data.shape[0] :].neg_()
    rbm.update(RbmPhases(both, hidden), rate=1, momentum=0, l2=0)
    return [rbm.moves.weight[0], rbm.moves.hidden_bias[0], rbm.moves.visible_bias[0]]


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    return float(torch.cat([(x - y).flatten() for x, y in zip(a, b, strict=True)]).norm())


@pytest.mark.parametrize("gaussian", [True, False])
def test_gradient_approaches_the_exact_one(gaussian: bool) -> None:
    data = toy(gaussian).repeat(200, 1)
    scale = 0.55 if gaussian else 1.5  # large enough that the chain takes some steps to forget the data
    exact = exact_gradient(random_rbm(gaussian, scale=scale), data)
    norm = distance(exact, [torch.zeros_like(x) for x in exact])
    errors = [distance(estimate(random_rbm(gaussian, scale=scale), data, k), exact) / norm for k in (1, 3, 40)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gaussian", [True, False])
def test_exact_likelihood_rises(gaussian: bool, dtype: torch.dtype, seed: int) -> None:
    data = toy(gaussian)
    rbm = StackedRbm(RbmSpec(VISIBLE, HIDDEN, gaussian), dtype=dtype)
    rbm.initialise(seed, None if gaussian else data.mean(0))
    course = [nll(rbm, data)]
    for block in range(4):
        for k in range(100):
            phases = rbm.contrast(data[None].to(dtype), [1000 * seed + 100 * block + k])
            rbm.update(phases, rate=0.05, momentum=0.5)
        course.append(nll(rbm, data))
    # It falls to where CD-1, which does not follow the likelihood exactly, lets it wander by a hundredth
    assert course[1] < course[0] - 0.5 or course[2] < course[0] - 0.5
    assert all(later < earlier + 0.02 for earlier, later in pairwise(course))
    assert course[-1] < course[0] - 0.5


def test_free_energy_is_the_marginal_over_hidden_states() -> None:
    for gaussian in (True, False):
        rbm, v, h = random_rbm(gaussian), toy(gaussian, 6), states(HIDDEN)
        parts = rbm.parts
        energy = -(h @ parts.hidden_bias[0])[None] - v @ parts.weight[0].T @ h.T
        b = parts.visible_bias[0]
        energy += ((v - b).square().sum(1) / 2 if gaussian else -(v @ b))[:, None]
        torch.testing.assert_close(rbm.free_energy(v[None])[0], -torch.logsumexp(-energy, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gaussian", [True, False])
def test_stacked_as_one_by_one(gaussian: bool, dtype: torch.dtype) -> None:
    spec = RbmSpec(VISIBLE, HIDDEN, gaussian)
    data = torch.stack([toy(gaussian), toy(gaussian).flip(1), toy(gaussian) * 0.5]).to(dtype)
    mean = None if gaussian else torch.full((VISIBLE,), 0.4)
    stacked = StackedRbm(spec, 3, dtype=dtype).initialise(0, mean)
    alone = [StackedRbm(spec, dtype=dtype).initialise(0, mean) for _ in range(3)]
    for k in range(5):
        seeds = [10 * k + r for r in range(3)]
        stacked.update(stacked.contrast(data, seeds), rate=0.1, momentum=0.9)
        for r, rbm in enumerate(alone):
            rbm.update(rbm.contrast(data[r : r + 1], seeds[r : r + 1]), rate=0.1, momentum=0.9)
    assert torch.equal(stacked.parameters, torch.cat([rbm.parameters for rbm in alone]))
    assert not torch.equal(stacked.parameters[0], stacked.parameters[1])


def test_variance_guard_shrinks_only_the_replica_that_needs_it() -> None:
    rbm = StackedRbm(RbmSpec(VISIBLE, HIDDEN, True), 2).initialise(0)
    rbm.parameters[0] *= 200
    rbm.velocity.fill_(0.01)
    before = rbm.parameters.clone()
    phases = rbm.contrast(toy(True).expand(2, -1, -1), [0, 1])
    data, reconstruction = phases.visible[0].chunk(2)
    step = rbm.update(phases, rate=0.01, momentum=0.5)
    assert step.struck.tolist() == [True, False]
    ratio = (data.std(0, correction=0).sum() / reconstruction.std(0, correction=0).sum()).item()
    assert 0 < ratio < 0.5
    torch.testing.assert_close(rbm.parameters[0], before[0] * ratio)
    assert not rbm.velocity[0].any() and rbm.velocity[1].any()
    assert rbm.lr_scale.tolist() == [RATE_AFTER_GUARD, 1]
    rbm.restore_rate()
    assert rbm.lr_scale.tolist() == [1, 1]


def test_variance_guard_is_not_fooled_by_means() -> None:
    """Reconstructions far from one another in their dimensions' means vary no more over frames."""
    rbm = StackedRbm(RbmSpec(VISIBLE, HIDDEN, True)).initialise(0)
    both = torch.cat([toy(True), toy(True) + 100 * torch.arange(VISIBLE)])[None]
    assert not rbm.update(RbmPhases(both, torch.zeros(1, 400, HIDDEN)), rate=1e-9, momentum=0).struck


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gaussian", [True, False])
def test_compiled_step_is_torchs(gaussian: bool, dtype: torch.dtype) -> None:
    """That of any device against that of the CPU: one replica to train, one for the guard, one that is not active."""
    spec, mean = RbmSpec(VISIBLE, HIDDEN, gaussian), None if gaussian else torch.full((VISIBLE,), 0.4)
    data = toy(gaussian).repeat(3, 1, 1).to(dtype)
    data[2] = torch.nan
    outcomes: list[tuple[StackedRbm, StepResult]] = []
    for how in (step_on_cpu, step_elsewhere):
        rbm = StackedRbm(spec, 3, dtype=dtype).initialise(0, mean)
        rbm.parameters[1] *= 200
        rbm.parameters_changed()
        rbm.velocity[:, : spec.hidden_dim * spec.visible_dim].fill_(0.01)
        phases = rbm.contrast(data, [1, 2, 3])
        gradient = torch.empty(3, HIDDEN, VISIBLE, dtype=dtype)
        active = torch.tensor([True, True, False])
        outcomes.append((rbm, how(rbm._model, phases.visible, phases.hidden, gradient, Rates(0.1, 0.9, 0.01), active)))
    (ours, step), (theirs, other) = outcomes
    assert step.struck.tolist() == other.struck.tolist() == [False, gaussian, False]
    torch.testing.assert_close(step.error_sum, other.error_sum)
    for name in ("parameters", "velocity", "lr_scale"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    copy = ours._working.flat
    assert torch.equal(copy, ours.parameters.to(dtype))
    torch.testing.assert_close(copy, theirs._working.flat)


def test_step_by_hand() -> None:
    """Momentum, averaging over the minibatch and L2 on weights alone."""
    rbm, data = random_rbm(False), toy(False, 8)
    rbm.velocity.fill_(0.5)
    weight = rbm.parts.weight.clone()
    phases = rbm.contrast(data[None], [0])
    v0, v1 = phases.visible[0].chunk(2)
    h0, h1 = phases.hidden[0].chunk(2)
    h1 = -h1
    step = rbm.update(phases, rate=0.2, momentum=0.6, l2=0.1)
    torch.testing.assert_close(rbm.moves.weight[0], 0.3 + 0.2 / 8 * (h0.T @ v0 - h1.T @ v1) - 0.2 * 0.1 * weight[0])
    torch.testing.assert_close(rbm.moves.hidden_bias[0], 0.3 + 0.2 * (h0 - h1).mean(0))
    torch.testing.assert_close(rbm.moves.visible_bias[0], 0.3 + 0.2 * (v0 - v1).mean(0))
    torch.testing.assert_close(step.error_sum[0], (v0 - v1).square().sum())


def test_replicas_that_are_not_active_stay_as_they_are() -> None:
    rbm = StackedRbm(RbmSpec(VISIBLE, HIDDEN, True), 2).initialise(0)
    rbm.velocity.fill_(0.01)
    before = rbm.parameters.clone()
    data = toy(True).repeat(2, 1, 1)
    data[1] = torch.nan
    phases = rbm.contrast(data, [0, 1])
    step = rbm.update(phases, rate=0.1, momentum=0.9, active=torch.tensor([True, False]))
    assert not step.struck.any() and step.error_sum[1] == 0
    assert torch.equal(rbm.parameters[1], before[1]) and bool((rbm.velocity[1] == 0.01).all())
    assert not torch.equal(rbm.parameters[0], before[0])


def test_initial_parameters() -> None:
    mean = torch.linspace(0, 1, 300)
    rbm = StackedRbm(RbmSpec(300, 200, False), 2).initialise(0, mean)
    assert torch.equal(rbm.parameters[0], rbm.parameters[1])
    assert abs(rbm.parts.weight.std() - WEIGHT_STDDEV) < 1e-3
    torch.testing.assert_close(rbm.parts.visible_bias[0].sigmoid(), mean.clamp(1e-4, 1 - 1e-4))
    assert not rbm.parts.hidden_bias.any()
