"""Block momentum: its forms in the papers are one rule, its steady gain, SlowMo's rate, DiLoCo's sign."""

from typing import Any

import numpy as np
import pytest
import reference_algorithms as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Models, random_models, started, sync_info
from torch import Tensor

from asr_parallel.parallel.algorithms.block_momentum import PRESETS, BlockMomentum, BlockMomentumOptions, Outer
from asr_parallel.parallel.synchronizer import Synchronizer
from asr_parallel.training.train_options import training_options

FEW = settings(deadline=None, max_examples=20)
constants = st.floats(0.1, 1.5), st.floats(0.0, 0.95)


def make(models: Models, num_workers: int, **options: Any) -> Synchronizer:
    assert num_workers == len(models.parameters)
    return started(models, algorithm="block-momentum", **options)


def blocks(num_workers: int, rounds: int, seed: int) -> list[Tensor]:
    """What workers move in each block, (K, P) each."""
    return [random_models(num_workers, 5, seed + t) for t in range(rounds)]


def delivered(of: Synchronizer, models: Models) -> Tensor:
    return of.global_model(models, sync_info([1] * len(models.parameters)))


def test_published_constants() -> None:
    assert {
        "bmuf-nesterov": Outer(1.0, None, True),
        "bmuf": Outer(1.0, None, False),
        "slowmo": Outer(1.0, 0.5, False, True),
        "diloco": Outer(0.7, 0.9, True),
    } == PRESETS
    for num_workers in (1, 2, 8):
        assert make(Models(torch.zeros(num_workers, 1)), num_workers).algorithm.momentum == 1 - 1 / num_workers


@FEW
@given(st.integers(1, 6), st.integers(0, 10**6), st.sampled_from(list(PRESETS)))
def test_without_momentum_it_is_averaging(num_workers: int, seed: int, preset: str) -> None:
    """And so DiLoCo's outer gradient has the right sign: a wrong one would go the other way."""
    models, others = (Models(random_models(1, 5, seed).repeat(num_workers, 1)) for _ in range(2))
    of = make(models, num_workers, outer=preset, outer_rate=1.0, outer_momentum=0.0)
    average = started(others)
    for t, moved in enumerate(blocks(num_workers, 4, seed)):
        for own, algo in ((models, of), (others, average)):
            own.parameters += moved
            algo.synchronize(own, sync_info(list(range(1, num_workers + 1)), t, lr=0.5 / (t + 1)))
        torch.testing.assert_close(models.parameters, others.parameters)
        torch.testing.assert_close(delivered(of, models), others.parameters[0])


@pytest.mark.parametrize("preset", ["bmuf", "bmuf-nesterov"])
def test_one_worker_without_constants_of_its_own_is_plain_training(preset: str) -> None:
    models = Models(torch.zeros(1, 5))
    of = make(models, 1, outer=preset)
    for moved in blocks(1, 6, 0):
        models.parameters += moved
        before = models.parameters.clone()
        of.synchronize(models, sync_info([3]))
        torch.testing.assert_close(models.parameters, before)


@FEW
@given(st.integers(0, 10**6), st.sampled_from(list(PRESETS)), st.floats(0.1, 1.0))
def test_one_worker_without_momentum_is_lookahead(seed: int, preset: str, alpha: float) -> None:
    """Zhang et al., arXiv 1907.08610: slow weights go a part alpha of the way to the fast ones, which start there."""
    models = Models(random_models(1, 5, seed))
    of, slow = make(models, 1, outer=preset, outer_rate=alpha, outer_momentum=0.0), models.parameters[0].clone()
    for t, moved in enumerate(blocks(1, 6, seed)):
        models.parameters += moved
        slow = slow + alpha * (models.parameters[0] - slow)
        of.synchronize(models, sync_info([3], t, lr=0.5 / (t + 1)))
        torch.testing.assert_close(models.parameters[0], slow)
        torch.testing.assert_close(delivered(of, models), slow)


@FEW
@given(st.integers(1, 6), st.integers(0, 10**6), *constants)
def test_nesterovs_form_is_torchs_on_the_dispatched_point(num_workers: int, seed: int, zeta: float, eta: float) -> None:
    models = Models(random_models(1, 5, seed).repeat(num_workers, 1))
    theirs = torch.nn.Parameter(models.parameters[0].clone().double())
    outer = torch.optim.SGD([theirs], lr=zeta, momentum=eta, nesterov=eta > 0)
    of = make(models, num_workers, outer_rate=zeta, outer_momentum=eta)
    for moved in blocks(num_workers, 8, seed):
        dispatched = models.parameters[0].clone()
        models.parameters += moved
        theirs.grad = (dispatched - models.parameters.mean(dim=0)).double()
        of.synchronize(models, sync_info([9] * num_workers))
        outer.step()
        greatest = 1 + float(theirs.detach().abs().max())
        assert (models.parameters - theirs.detach()).abs().max() < 1e-6 * greatest
        state = of.algorithm.shared
        look_back = state["dispatched"] - eta * state["velocity"]
        assert (delivered(of, models) - look_back).abs().max() < 1e-6 * greatest


def run_against(rule: reference.Rule, num_workers: int, seed: int, **options: Any) -> None:
    models = Models(torch.zeros(num_workers, 5))
    of, theirs = make(models, num_workers, **options), np.zeros((num_workers, 5))
    for moved in blocks(num_workers, 8, seed):
        models.parameters += moved
        of.synchronize(models, sync_info([9] * num_workers))
        theirs = rule.meet(theirs + moved.double().numpy(), np.full(num_workers, 9), 0.1)
        np.testing.assert_allclose(models.parameters.numpy(), theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(delivered(of, models).numpy(), rule.delivered, rtol=1e-4, atol=1e-4)


@FEW
@given(st.integers(1, 6), st.integers(0, 10**6), *constants)
def test_cntks_sum_has_another_name_for_the_same_rate(num_workers: int, seed: int, eps: float, eta: float) -> None:
    rule = reference.CntkBlockMomentum(np.zeros(5), eta, eps)
    run_against(rule, num_workers, seed, outer_rate=(1 - eta) * num_workers * eps, outer_momentum=eta)


@FEW
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_cntks_defaults_are_ours(num_workers: int, seed: int) -> None:
    """A momentum of 1 - 1/K and a block learning rate of 1 have zeta = 1."""
    run_against(reference.CntkBlockMomentum(np.zeros(5), 1 - 1 / num_workers, 1.0), num_workers, seed)


@pytest.mark.parametrize("preset", ["bmuf", "bmuf-nesterov"])
@pytest.mark.parametrize("num_workers", [2, 8])
def test_constant_gradients_lead_as_far_as_all_workers_together(num_workers: int, preset: str) -> None:
    """A block's mean times zeta / (1 - eta) = K. CNTK's code, with its overwriting, goes 1 + eta times as far."""
    models, eta = Models(torch.zeros(num_workers, 5)), 1 - 1 / num_workers
    moved = random_models(num_workers, 5, 0)
    of, cntks = make(models, num_workers, outer=preset), reference.CntkBlockMomentum(np.zeros(5), eta, 1.0, True)
    theirs = np.zeros((num_workers, 5))
    for _ in range(200):
        before, theirs_before = delivered(of, models).clone(), cntks.delivered
        models.parameters += moved
        of.synchronize(models, sync_info([1] * num_workers))
        theirs = cntks.meet(theirs + moved.double().numpy(), np.ones(num_workers), 0.1)
    gone = delivered(of, models) - before
    torch.testing.assert_close(gone, moved.sum(dim=0), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(cntks.delivered - theirs_before, (1 + eta) * moved.double().sum(dim=0).numpy())


def test_slowmo_remembers_gradients_and_not_distances() -> None:
    """When the workers' rate falls to a tenth, what is remembered of earlier blocks does too."""
    models = Models(torch.zeros(2, 1))
    of = make(models, 2, outer="slowmo")
    seen = []
    for t, (rate, moved) in enumerate([(0.1, 1.0), (0.01, 0.0), (0.01, 0.0)]):
        models.parameters += moved
        of.synchronize(models, sync_info([1, 1], t, rate))
        seen.append(float(models.parameters[0]))
    assert seen == pytest.approx([1.0, 1.0 + 0.5 * 0.1, 1.05 + 0.5**2 * 0.1])
    rule, x = reference.SlowMo(np.zeros(1), 1.0, 0.5), np.zeros((2, 1))
    for (rate, moved), want in zip([(0.1, 1.0), (0.01, 0.0), (0.01, 0.0)], seen, strict=True):
        x = rule.meet(x + moved, np.ones(2), rate)
        assert float(x[0, 0]) == pytest.approx(want)


def test_bmuf_remembers_distances() -> None:
    models = Models(torch.zeros(2, 1))
    of = make(models, 2, outer="bmuf")
    for t, (rate, moved) in enumerate([(0.1, 1.0), (0.01, 0.0)]):
        models.parameters += moved
        of.synchronize(models, sync_info([1, 1], t, rate))
    assert models.parameters.tolist() == [[1.5], [1.5]]


@FEW
@given(st.integers(0, 10**6), st.sampled_from(list(PRESETS)), st.integers(1, 5))
def test_restored_it_goes_on_bit_for_bit(seed: int, preset: str, cut: int) -> None:
    moves = blocks(3, 6, seed)
    models, later = Models(torch.zeros(3, 5)), Models(torch.zeros(3, 5))
    of, again = make(models, 3, outer=preset), make(later, 3, outer=preset)
    for t, moved in enumerate(moves):
        if t == cut:
            later.parameters.copy_(models.parameters)
            for name, tensor in again.algorithm.shared.items():
                tensor.copy_(of.algorithm.shared[name])
        for own, algo in ((models, of), (later, again)):
            own.parameters += moved
            algo.synchronize(own, sync_info([1, 2, 3], t, 0.1 / (t + 1)))
    assert torch.equal(models.parameters, later.parameters)


@pytest.mark.parametrize(("rate", "momentum"), [(0.0, 0.5), (float("nan"), 0.5), (1.0, 1.0), (1.0, -0.1)])
def test_constants_out_of_range(rate: float, momentum: float) -> None:
    with pytest.raises(ValueError, match=r"outer_(rate|momentum) .*: expected a number (above 0|of at least 0)"):
        BlockMomentum(BlockMomentumOptions(outer_rate=rate, outer_momentum=momentum))


def test_no_momentum_may_be_asked_for() -> None:
    options = training_options(workers=2, algorithm="block-momentum", outer_momentum=0.0)
    assert options.algorithm == BlockMomentumOptions(outer_momentum=0.0)
    assert make(Models(torch.zeros(2, 1)), 2, outer_momentum=0.0).algorithm.momentum == 0
