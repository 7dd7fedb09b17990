"""How many trainings run side by side, by the memory that there is."""

import math

import pytest

from asr_parallel.compare import memory
from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.memory import BYTES_A_PARAMETER, PROCESS_BYTES, bytes_of, that_fit

SHAPE = (40, 5, 100)
PARAMETERS = (440 + 1) * 16 + (16 + 1) * 100  # and a few to fill up lines of memory


def training(workers: int, hidden_dim: int = 16) -> Training:
    options = (("hidden_layers", 1), ("hidden_dim", hidden_dim), ("nonlinearity", "relu"))
    return Training("average" if workers > 1 else "none", workers, "sgd", 1, "", options)


def test_every_worker_has_its_parameters_and_every_process_its_libraries() -> None:
    one = bytes_of(training(1), SHAPE, 1) - PROCESS_BYTES
    assert one == pytest.approx(BYTES_A_PARAMETER * PARAMETERS, rel=0.01)
    assert bytes_of(training(4), SHAPE, 2) == 2 * PROCESS_BYTES + 4 * one
    assert bytes_of(training(1), SHAPE, 2) == bytes_of(training(1), SHAPE, 1)  # it runs in one


@pytest.mark.parametrize(("available", "fit"), [(math.inf, 8), (3.5, 3), (1.0, 1), (0.2, 1)])
def test_the_largest_decides(monkeypatch: pytest.MonkeyPatch, available: float, fit: int) -> None:
    """available: in units of the largest training."""
    both = [training(1), training(32, 64)]
    monkeypatch.setattr(memory, "available_memory", lambda: available * bytes_of(both[1], SHAPE, 1))
    assert that_fit(both, SHAPE, 1, wanted=8) == fit
