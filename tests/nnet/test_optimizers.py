"""Optimisers: each against the plain formula, limits on the change, what is not finite, replicas, and their state."""

import math
from collections.abc import Iterator

import pytest
import torch
from gradients import gradient
from torch import Tensor

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient
from asr_parallel.nnet.ng_sgd import RANK_IN, RANK_OUT, UPDATE_PERIOD
from asr_parallel.nnet.optimizer import Optimizer
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.spec import layout
from asr_parallel.nnet.stacked import Layers, StackedNetwork

SPEC = dnn(frame_dim=4, context=1, hidden_layers=2, hidden_dim=10, num_pdfs=6, nonlinearity="tanh")
RATE = 0.01


def make(name: str, replicas: int = 1, limit: MaxChange | None = None) -> Optimizer:
    network = StackedNetwork(SPEC, replicas)
    draw = torch.Generator().manual_seed(0)
    for r in range(replicas):
        network.parameters[r].normal_(0, 0.4, generator=draw)
    network.parameters_changed()
    return optimizer(name, network, limit, momentum=0.9)


def minibatch(step: int, replicas: int = 1, frames: int = 32) -> tuple[Tensor, Tensor]:
    """Replica r's data follow from r and the step alone."""
    parts = []
    for r in range(replicas):
        random = torch.Generator().manual_seed(100 * step + r)
        parts.append((torch.randn(frames, 12, generator=random), torch.randint(0, 6, (frames,), generator=random)))
    return torch.stack([x for x, _ in parts]), torch.stack([y for _, y in parts])


def train(of: Optimizer, steps: range, replicas: int = 1) -> Tensor:
    for step in steps:
        of.step(of.network.backward(*minibatch(step, replicas)), RATE)
    return of.network.parameters.clone()


def test_sgd_is_the_rate_times_the_summed_gradient() -> None:
    of = make("sgd")
    before, g = of.network.parameters.clone(), gradient(of.network, *minibatch(0))
    torch.testing.assert_close(train(of, range(1)), before - RATE * g)


def test_momentum_does_not_change_the_effective_rate() -> None:
    of = make("momentum")
    v = torch.zeros_like(of.network.parameters)
    want = of.network.parameters.clone()
    for step in range(5):
        v = 0.9 * v + gradient(of.network, *minibatch(step))
        want -= RATE * (1 - 0.9) * v
        train(of, range(step, step + 1))
        torch.testing.assert_close(of.network.parameters, want)


def test_a_gradient_is_summed_over_frames() -> None:
    """So 0.008 for Kaldi's nnet1 minibatches of 256 is 2.048 for a mean over them."""
    once, twice = make("sgd"), make("sgd")
    x, y = minibatch(0)
    before = once.network.parameters.clone()
    once.step(once.network.backward(x, y), RATE)
    twice.step(twice.network.backward(torch.cat([x, x], dim=1), torch.cat([y, y], dim=1)), RATE)
    torch.testing.assert_close(twice.network.parameters - before, 2 * (once.network.parameters - before))


def test_momentums_steps_are_those_of_torch_times_one_minus_it() -> None:
    """Kaldi nnet3's and its RBMs' momentum; torch's and nnet1's moves 10 times as far for the same rate."""
    of = make("momentum")
    theirs = torch.nn.Parameter(of.network.parameters.clone())
    sgd = torch.optim.SGD([theirs], lr=RATE * (1 - 0.9), momentum=0.9)
    for step in range(5):
        theirs.grad = gradient(of.network, *minibatch(step))
        sgd.step()
        train(of, range(step, step + 1))
        torch.testing.assert_close(of.network.parameters, theirs.detach())


def test_nesterovs_momentum_takes_gradients_where_the_velocity_leads() -> None:
    """EAMSGD's v = delta v - eta g(x + delta v); x = x + v. Parameters are x + delta v; `settle` gives x and back."""
    of, theirs, delta = make("nesterov"), make("sgd"), 0.9
    x, v = of.network.parameters.clone(), torch.zeros_like(of.network.parameters)
    for step in range(8):
        theirs.network.parameters.copy_(x + delta * v)
        v = delta * v - RATE * (1 - delta) * gradient(theirs.network, *minibatch(step))
        x = x + v
        train(of, range(step, step + 1))
        torch.testing.assert_close(of.network.parameters, x + delta * v, atol=1e-6, rtol=1e-4)
        of.leave_lookahead()
        torch.testing.assert_close(of.network.parameters, x, atol=1e-6, rtol=1e-4)
        of.enter_lookahead()
        torch.testing.assert_close(of.network.parameters, x + delta * v, atol=1e-6, rtol=1e-4)


def test_a_nesterov_model_that_does_not_train_stays_where_it_is() -> None:
    of = make("nesterov")
    train(of, range(3))
    of.leave_lookahead()
    before = of.network.parameters.clone()
    of.enter_lookahead()
    x, y = minibatch(3)
    of.step(of.network.backward(x * torch.nan, y), RATE / 10)
    of.leave_lookahead()
    torch.testing.assert_close(of.network.parameters, before)


def test_nesterovs_momentum_is_that_of_torch() -> None:
    of = make("nesterov")
    theirs = torch.nn.Parameter(of.network.parameters.clone())
    sgd = torch.optim.SGD([theirs], lr=RATE * (1 - 0.9), momentum=0.9, nesterov=True)
    for step in range(5):
        theirs.grad = gradient(of.network, *minibatch(step))
        sgd.step()
        train(of, range(step, step + 1))
        torch.testing.assert_close(of.network.parameters, theirs.detach())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_that_has_forgotten_is_a_new_one(name: str) -> None:
    of, anew = make(name), make(name)
    train(of, range(3))
    of.leave_lookahead()
    anew.network.parameters.copy_(of.network.parameters)
    of.forget()
    of.enter_lookahead()
    assert torch.equal(train(of, range(3, 16)), train(anew, range(3, 16)))


def test_adam_is_that_of_torch() -> None:
    of = make("adam")
    theirs = torch.nn.Parameter(of.network.parameters.clone())
    adam = torch.optim.Adam([theirs], lr=RATE)
    for step in range(6):
        theirs.grad = gradient(of.network, *minibatch(step))
        adam.step()
        train(of, range(step, step + 1))
        torch.testing.assert_close(of.network.parameters, theirs.detach(), atol=1e-6, rtol=1e-5)


def steps(name: str, network: StackedNetwork) -> Iterator[Tensor]:
    """The steps (1, P) that an optimiser would take without limits, by its formula, from where the network is now."""
    v, mean, square = (torch.zeros_like(network.parameters) for _ in range(3))
    inputs = [OnlineNaturalGradient(1, p.into + 1, min(20, (p.into + 2) // 2), 4) for p in layout(SPEC)]
    outputs = [OnlineNaturalGradient(1, p.out, min(80, (p.out + 1) // 2), 4) for p in layout(SPEC)]
    for t in range(1, 100):
        g = gradient(network, *minibatch(t))
        if name == "sgd":
            yield -RATE * g
        elif name in ("momentum", "nesterov"):
            v = 0.9 * v + g
            yield -RATE * (1 - 0.9) * v
        elif name == "adam":
            mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
            yield -RATE * mean / (1 - 0.9**t) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
        else:
            step, back = Layers.zeros(SPEC, 1), network.backward(*minibatch(t))
            for k, (x, d) in enumerate(zip(back.inputs, back.derivatives, strict=True)):
                with_one, in_scale = inputs[k].precondition(torch.cat([x, torch.ones(1, 32, 1)], dim=2))
                d_hat, out_scale = outputs[k].precondition(d)
                change = -RATE * in_scale * out_scale * (d_hat.mT @ with_one)
                step.weights[k].copy_(change[:, :, :-1])
                step.biases[k].copy_(change[:, :, -1])
            yield step.flat


def limited(step: Tensor, limit: MaxChange) -> Tensor:
    """Kaldi's UpdateNnetWithMaxChange."""
    step = step.clone()
    for k, place in enumerate(layout(SPEC)):
        most = limit.output if k == len(layout(SPEC)) - 1 else limit.hidden
        step[:, place.start : place.end] *= min(1.0, most / step[:, place.start : place.end].norm().item())
    return step * min(1.0, limit.whole / step.norm().item())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_limits_are_kaldis_whatever_the_optimiser(name: str) -> None:
    free = next(steps(name, make(name).network))
    lengths = [free[:, p.start : p.end].norm().item() for p in layout(SPEC)]
    # Some steps meet a layer's limit, some only that of the whole, some none
    limit = MaxChange(0.7 * max(lengths[:-1]), 1.2 * lengths[-1], 0.9 * free.norm().item())
    of, theirs = make(name, 1, limit), make(name).network
    x, kept = of.network.parameters.clone(), []
    for t, step in enumerate(steps(name, theirs), 1):
        change = limited(step, limit)
        x = x + change
        ahead = 0.9 * change if name == "nesterov" else 0.0
        of.step(of.network.backward(*minibatch(t)), RATE)
        torch.testing.assert_close(of.network.parameters, x + ahead, atol=2e-5, rtol=2e-3)
        kept.append((change.norm() / step.norm()).item())
        assert of.max_change_scale.tolist() == [pytest.approx(kept[-1], rel=1e-3)]
        theirs.parameters.copy_(x + ahead)
        theirs.parameters_changed()
        if t == 8:
            break
    assert kept[0] < 0.95 and max(kept) - min(kept) > 0.02


def test_a_limit_of_zero_is_none() -> None:
    limit = MaxChange(0.0, 0.01, 0.0)
    of = make("sgd", 1, limit)
    before, g = of.network.parameters.clone(), gradient(of.network, *minibatch(0))
    last = layout(SPEC)[-1]
    train(of, range(1))
    change = of.network.parameters - before
    torch.testing.assert_close(change[:, : last.start], -RATE * g[:, : last.start])
    assert change[:, last.start :].norm().item() == pytest.approx(0.01, rel=1e-3)


def test_natural_gradient_preconditions_both_sides_of_every_layer() -> None:
    of = make("ng-sgd")
    places = layout(SPEC)
    inputs = [OnlineNaturalGradient(1, p.into + 1, min(20, (p.into + 2) // 2), 4) for p in places]
    outputs = [OnlineNaturalGradient(1, p.out, min(80, (p.out + 1) // 2), 4) for p in places]
    for step in range(14):
        before = of.network.parameters.clone()
        want = Layers.zeros(SPEC, 1)
        back = of.network.backward(*minibatch(step))
        lengths = []
        for k, (x, d) in enumerate(zip(back.inputs, back.derivatives, strict=True)):
            with_one, in_scale = inputs[k].precondition(torch.cat([x, torch.ones(1, 32, 1)], dim=2))
            d_hat, out_scale = outputs[k].precondition(d)
            change = RATE * in_scale * out_scale * (d_hat.mT @ with_one)
            want.weights[k].copy_(change[:, :, :-1])
            want.biases[k].copy_(change[:, :, -1])
            lengths.append(change.norm().item())
        assert max(lengths[:-1]) < 0.75 and lengths[-1] < 1.5 and math.hypot(*lengths) < 2  # within the limits
        after = train(of, range(step, step + 1))
        torch.testing.assert_close(before - after, want.flat, atol=2e-5, rtol=2e-3)


@pytest.mark.parametrize("rate", [100.0, 1e38])  # the second's lengths are no float32
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_layer_nor_the_whole_moves_further_than_it_may(name: str, rate: float) -> None:
    of = make(name, 2, MaxChange(hidden=0.03, output=0.2, whole=0.05))
    before = of.network.parameters.clone()
    of.step(of.network.backward(*minibatch(0, 2)), rate)
    of.leave_lookahead()
    change = of.network.parameters - before
    lengths = torch.stack([change[:, p.start : p.end].norm(dim=1) for p in layout(SPEC)])
    # the layers are brought to 0.03, 0.03 and 0.2, and then together to 0.05
    whole = (0.03**2 + 0.03**2 + 0.2**2) ** 0.5
    want = torch.tensor([0.03, 0.03, 0.2]) * 0.05 / whole
    torch.testing.assert_close(lengths, want[:, None].expand(3, 2), rtol=1e-3, atol=0)


def test_a_small_change_is_not_limited() -> None:
    limited, free = make("sgd", 1, MaxChange()), make("sgd")
    torch.testing.assert_close(train(limited, range(3)), train(free, range(3)), atol=0, rtol=0)
    assert limited.max_change_scale.tolist() == free.max_change_scale.tolist() == [1.0]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_change_that_is_not_finite_is_skipped_and_counted(name: str, poison: float) -> None:
    of, undisturbed = make(name, 2), make(name, 2)
    train(of, range(3), 2)
    train(undisturbed, range(3), 2)
    before, state = of.network.parameters.clone(), of.state()
    x, y = minibatch(3, 2)
    x[1, 5, 2] = poison
    of.step(of.network.backward(x, y), RATE)
    assert of.skipped.tolist() == [0, 1] and of.max_change_scale.isnan().tolist() == [False, True]
    assert torch.equal(of.network.parameters[1], before[1])
    for kept in ("velocity", "mean", "square", "steps"):
        if kept in state:
            assert torch.equal(of.state()[kept][1], state[kept][1])
    train(undisturbed, range(3, 4), 2)
    torch.testing.assert_close(of.network.parameters[0], undisturbed.network.parameters[0])
    assert train(of, range(4, 12), 2).isfinite().all()
    assert of.skipped.tolist() == [0, 1]
    assert not torch.equal(of.network.parameters[1], before[1])  # it goes on


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stacked_replicas_do_what_each_does_alone(name: str) -> None:
    together = make(name, 3, MaxChange(0.05, 0.1, 0.1))
    alone = []
    for r in range(3):
        of = make(name, 1, MaxChange(0.05, 0.1, 0.1))
        of.network.parameters.copy_(together.network.parameters[r : r + 1])
        alone.append(of)
    for step in range(16):
        x, y = minibatch(step, 3)
        together.step(together.network.backward(x.clone(), y), RATE)
        for r, of in enumerate(alone):
            of.step(of.network.backward(x[r : r + 1].clone(), y[r : r + 1]), RATE)
    torch.testing.assert_close(
        together.network.parameters, torch.cat([of.network.parameters for of in alone]), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimiser_goes_on_bit_for_bit(name: str) -> None:
    of, later = make(name, 2), make(name, 2)
    train(of, range(13), 2)
    later.network.parameters.copy_(of.network.parameters)
    later.restore(of.state())
    assert torch.equal(train(of, range(13, 20), 2), train(later, range(13, 20), 2))


def test_the_state_of_another_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match="optimiser state of another kind or size"):
        make("adam").restore(make("momentum").state())
    with pytest.raises(ValueError, match="optimiser state of another kind or size"):
        make("ng-sgd", 2).restore(make("ng-sgd", 1).state())


def test_defaults_are_kaldis() -> None:
    assert (RANK_IN, RANK_OUT, UPDATE_PERIOD) == (20, 80, 4)
    limit = MaxChange()
    assert (limit.hidden, limit.output, limit.whole) == (0.75, 1.5, 2.0)


def test_bad_options() -> None:
    with pytest.raises(
        ValueError, match="unknown optimizer 'lbfgs'; expected one of ng-sgd, sgd, momentum, nesterov, adam"
    ):
        make("lbfgs")
    with pytest.raises(ValueError, match=r"momentum 1\.0: expected at least 0 and below 1"):
        optimizer("momentum", StackedNetwork(SPEC), None, momentum=1.0)
    with pytest.raises(ValueError, match="a largest change must be at least 0"):
        MaxChange(hidden=-0.1)
