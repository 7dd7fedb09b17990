"""Natural gradient with odd inputs, in bfloat16, and taken up again."""

import pytest
import torch
from torch import Tensor

from asr_parallel.nnet.natural_gradient import OnlineNaturalGradient


def minibatches(calls: int, *shape: int, seed: int = 0) -> Tensor:
    """(calls, R, N, D) with variances over two decades."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(shape[-1], shape[-1], generator=random) * torch.logspace(0, -2, shape[-1])[:, None]
    return torch.randn(calls, *shape, generator=random) @ mix


def one_hot(x: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).float()


def assert_sound(preconditioner: OnlineNaturalGradient) -> None:
    """Finite, variances positive, directions orthonormal."""
    state = preconditioner.state()
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert (state["rho"] > 0).all() and (state["d"] > 0).all()
    e = preconditioner._e(state["rho"].double(), state["d"].double())
    R = state["W"].double() / e.sqrt()[:, :, None]
    eye = torch.eye(R.shape[1], dtype=torch.float64).expand(len(R), -1, -1)
    torch.testing.assert_close(R @ R.mT, eye, rtol=0, atol=2e-5)


ODD = {
    "zeros": torch.zeros_like,
    "one row": lambda x: x[:, :1],
    "constant column": lambda x: torch.cat([x[..., 1:], torch.ones_like(x[..., :1])], -1),
    "only constants": torch.ones_like,
    "huge": lambda x: x * 1e10,
    "tiny": lambda x: x * 1e-20,
    "denormal": lambda x: x * 1e-42,
    "of rank two": lambda x: x[..., :2] @ torch.ones(2, x.shape[-1]).tril(),
    "one-hot": one_hot,
    "equal rows": lambda x: x[:, :1].expand_as(x),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("dim", "rank"), [(16, 6), (16, 15), (2, 1)])
def test_odd_inputs_leave_it_sound(odd: str, dim: int, rank: int) -> None:
    for first, then in ((0, 15), (3, 18)):  # odd from the start, and all of a sudden
        preconditioner = OnlineNaturalGradient(2, dim, rank)
        for call, x in enumerate(minibatches(20, 2, 20, dim)):
            y, scale = preconditioner.precondition(ODD[odd](x) if first <= call < then else x)
            assert torch.isfinite(y).all() and torch.isfinite(scale).all() and (scale >= 0.99).all()
            assert_sound(preconditioner)


def test_zeros_come_back_with_scale_one() -> None:
    y, scale = OnlineNaturalGradient(1, 8, 3).precondition(torch.zeros(1, 5, 8))
    assert not y.any() and scale.tolist() == [1.0]


@pytest.mark.parametrize("power", [-30, 30, 33])
def test_the_unit_of_the_input_does_not_matter(power: int) -> None:
    one = OnlineNaturalGradient(1, 16, 6, epsilon=1e-10)
    other = OnlineNaturalGradient(1, 16, 6, epsilon=min(1e-5, 1e-10 * 2.0 ** (2 * power)))
    for x in minibatches(10, 1, 40, 16):
        y, scale = one.precondition(x)
        other_y, other_scale = other.precondition(x * 2.0**power)
        torch.testing.assert_close(other_y, y * 2.0**power, rtol=1e-3, atol=1e-4 * 2.0**power)
        torch.testing.assert_close(other_scale, scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_poisoned_replica_keeps_its_estimate_and_the_others_do_not_notice(first: int, poison: float) -> None:
    clean, struck = OnlineNaturalGradient(3, 10, 4), OnlineNaturalGradient(3, 10, 4)
    for call, x in enumerate(minibatches(8, 3, 15, 10)):
        touched = x.clone()
        if call == first:
            touched[1, 3, 4] = poison
        before = struck.state()
        y, scale = clean.precondition(x)
        struck_y, struck_scale = struck.precondition(touched)
        for r in (0, 2):
            torch.testing.assert_close(struck_y[r], y[r])
            torch.testing.assert_close(struck_scale[r], scale[r])
        if call == first:
            after = struck.state()
            assert all(torch.equal(after[name][1], before[name][1]) for name in ("W", "rho", "d"))
            assert not torch.isfinite(struck_scale[1])
        assert_sound(struck)
    assert torch.isfinite(struck_y).all()


def test_bfloat16_is_close_to_float32() -> None:
    wide, low = OnlineNaturalGradient(2, 24, 8, update_period=4), OnlineNaturalGradient(2, 24, 8, update_period=4)
    for x in minibatches(30, 2, 64, 24).bfloat16():
        y, scale = wide.precondition(x.float())
        low_y, low_scale = low.precondition(x)
        assert low_y.dtype == torch.bfloat16 and low_scale.dtype == torch.float32
        assert (low_y - y).norm() < 0.01 * y.norm()
        torch.testing.assert_close(low_scale, scale, rtol=2e-3, atol=0)
    torch.testing.assert_close(low.d, wide.d, rtol=0.02, atol=0)
    torch.testing.assert_close(low.rho, wide.rho, rtol=0.02, atol=0)
    low_known, known = (one.W.mT @ one.W for one in (low, wide))  # directions have no sign
    assert (low_known - known).norm() < 0.02 * known.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_never_looks_at_its_values_off_the_cpu(dtype: torch.dtype) -> None:
    """Tensors of the meta device have no values: whatever would make the host wait for a GPU fails on them."""
    preconditioner = OnlineNaturalGradient(2, 12, 5, update_period=4, device="meta")
    for _ in range(15):
        y, scale = preconditioner.precondition(torch.empty(2, 20, 12, dtype=dtype, device="meta"))
    assert y.shape == (2, 20, 12) and y.dtype == dtype and scale.shape == (2,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [0, 1, 7, 13])
def test_goes_on_bit_identically_from_its_state(stop: int, dtype: torch.dtype) -> None:
    def fresh() -> OnlineNaturalGradient:
        return OnlineNaturalGradient(2, 12, 5, update_period=4)

    xs = minibatches(20, 2, 30, 12).to(dtype)
    whole, before, after = fresh(), fresh(), fresh()
    for x in xs[:stop]:
        whole.precondition(x)
        before.precondition(x)
    for x in xs[5:18]:
        after.precondition(x)  # something to be replaced
    state = before.state()
    after.restore(state)
    for tensor in state.values():
        tensor.zero_()  # what is restored is a copy
    for x in xs[stop:]:
        expected, got = whole.precondition(x), after.precondition(x)
        assert torch.equal(expected[0], got[0]) and torch.equal(expected[1], got[1])


def test_states_of_other_shapes_are_refused() -> None:
    preconditioner = OnlineNaturalGradient(2, 12, 5)
    preconditioner.precondition(minibatches(1, 2, 30, 12)[0])
    before = preconditioner.state()
    for other in (OnlineNaturalGradient(3, 12, 5), OnlineNaturalGradient(2, 11, 5), OnlineNaturalGradient(2, 12, 4)):
        with pytest.raises(ValueError, match="expected"):
            preconditioner.restore(other.state())
    with pytest.raises(ValueError, match="expected"):
        preconditioner.restore({"W": before["W"]})
    assert all(torch.equal(tensor, before[name]) for name, tensor in preconditioner.state().items())
    assert int(preconditioner.state()["t"]) == 1


@pytest.mark.parametrize("shape", [(2, 30, 11), (3, 30, 12), (2, 0, 12), (30, 12)])
def test_inputs_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="input of shape"):
        OnlineNaturalGradient(2, 12, 5).precondition(torch.zeros(shape))


def test_inputs_of_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        OnlineNaturalGradient(2, 12, 5).precondition(torch.zeros(2, 3, 12, dtype=torch.float64))


@pytest.mark.parametrize(
    "options",
    [
        {"replicas": 0},
        {"dim": 0},
        {"rank": 0},
        {"update_period": 0},
        {"num_samples_history": 0.0},
        {"alpha": -1.0},
        {"epsilon": 0.0},
        {"delta": 0.5},
    ],
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="natural gradient"):
        OnlineNaturalGradient(**({"replicas": 1, "dim": 8} | options))  # type: ignore[arg-type]
