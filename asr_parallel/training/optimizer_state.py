"""The state of an optimiser in checkpoints."""

from typing import Any

from asr_parallel.nnet.optimizer import Optimizer
from asr_parallel.parallel.state import State


class OptimizerState:
    """The state of an optimiser, as a part of a loop's."""

    def __init__(self, of: Optimizer) -> None:
        self._optimizer = of

    def state_dict(self) -> State:
        return State(per_worker=self._optimizer.state())

    def load_state_dict(self, state: State) -> None:
        self._optimizer.restore(dict[str, Any](state.per_worker))
