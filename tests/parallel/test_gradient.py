"""Gradients summed over processes: several with parts of a minibatch are one with the whole of it."""

import pytest
import torch
from stand_ins import together
from torch import Tensor

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import OPTIMIZERS
from asr_parallel.nnet.max_change import MaxChange
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithm import Context
from asr_parallel.parallel.algorithms.gradient import Gradient
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup

SPEC = dnn(frame_dim=4, context=1, hidden_layers=2, hidden_dim=10, num_pdfs=6, nonlinearity="tanh")
STEPS, RATE = 12, 0.01
PARTS = {
    "even": [20, 20],
    "uneven": [33, 7],
    "none of the second's": [40, 0],
    "three": [10, 25, 5],
    "three, none of the first's": [0, 39, 1],
}


def minibatch(step: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(step)
    return torch.randn(1, 40, 12, generator=draw), torch.randint(0, 6, (1, 40), generator=draw)


def train(
    transport: Transport, name: str, parts: list[int], limit: MaxChange | None, poisoned: int | None = None
) -> tuple[Tensor, Tensor, int]:
    """Parameters, how many steps were skipped, and bytes; of the process with its part of every minibatch.

    Its sums have taken time when there are others, and none when it is alone.
    """
    network = StackedNetwork(SPEC).initialise(3)
    gradient = Gradient()
    gradient.start(network.parameters[0], Context(WorkerGroup(len(parts), transport)))
    of = optimizer(name, network, limit, 0.9, gradient.sum_gradients if transport.size > 1 else None)
    start = sum(parts[: transport.rank])
    end = start + parts[transport.rank] if transport.size > 1 else 40
    for step in range(STEPS):
        frames, labels = minibatch(step)
        if step == poisoned:
            frames[0, 0, 3] = torch.nan
        of.step(network.backward(frames[:, start:end].contiguous(), labels[:, start:end].contiguous()), RATE, None, 40)
    assert (gradient.sum_seconds > 0) == (transport.size > 1)
    return network.parameters, of.skipped, gradient.own_bytes


@pytest.mark.timeout(60)
@pytest.mark.parametrize("limit", [None, MaxChange(0.02, 0.05, 0.05)], ids=["free", "limited"])
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_of_a_minibatch_are_the_whole(name: str, parts: list[int], limit: MaxChange | None) -> None:
    [(whole, _, nothing)] = together(1, lambda transport: train(transport, name, parts, limit))
    seats = together(len(parts), lambda transport: train(transport, name, parts, limit))
    for parameters, skipped, bytes_sent in seats:
        torch.testing.assert_close(parameters, whole, rtol=1e-4, atol=2e-5)
        assert torch.equal(parameters, seats[0][0]) and not skipped.any()
        assert bytes_sent >= STEPS * 4 * whole.numel()
    assert nothing == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_in_one_process_is_left_out_by_all(name: str) -> None:
    [(whole, _, _)] = together(1, lambda transport: train(transport, name, [25, 15], None, 5))
    for parameters, skipped, _ in together(2, lambda transport: train(transport, name, [25, 15], None, 5)):
        assert skipped.tolist() == [1] and parameters.isfinite().all()
        torch.testing.assert_close(parameters, whole, rtol=1e-4, atol=2e-5)


def test_bytes_of_plain_sgd_are_those_of_the_gradient() -> None:
    seats = together(2, lambda transport: train(transport, "sgd", [20, 20], None))
    assert [given for _, _, given in seats] == [STEPS * 4 * seats[0][0].numel()] * 2


def test_it_needs_no_meetings_and_no_other_rate() -> None:
    gradient = Gradient()
    assert gradient.shared_replica and not gradient.exchanges_models and gradient.worker_lr_scale(8) == 1
