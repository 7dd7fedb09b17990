"""The replicas of asynchronous workers: a network's row each, and an optimiser each."""

import torch
from torch import Tensor

from asr_parallel.nnet.optimizer import Optimizer
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.stacked import Backward, StackedNetwork
from asr_parallel.parallel.state import State
from asr_parallel.training.init_model import Teacher
from asr_parallel.training.option_groups import OptimizationOptions


class NetworkReplica:
    """One row of a stacked network, with an optimiser of its own. See parallel/asynchronous/worker.py."""

    def __init__(self, network: StackedNetwork, made: Optimizer) -> None:
        self.network, self.optimizer = network, made

    @property
    def params(self) -> Tensor:
        """(P,) float32."""
        return self.network.parameters[0]

    def params_changed(self) -> None:
        self.network.parameters_changed()

    def leave_lookahead(self) -> None:
        self.optimizer.leave_lookahead()

    def enter_lookahead(self) -> None:
        self.optimizer.enter_lookahead()

    def forget(self) -> None:
        self.optimizer.forget()


class Replicas:
    """The replicas of a process's workers, as a part of a loop's state.

    replicas: a worker each. skipped (R,) int64: steps of each that were not applied.
    """

    def __init__(self, network: StackedNetwork, options: OptimizationOptions) -> None:
        """Make an optimiser for every row of a network."""
        self.replicas: list[NetworkReplica] = []
        self.skipped = torch.zeros(network.replicas, dtype=torch.int64, device=network.device)
        for r in range(network.replicas):
            row = network.replica(r)
            made = optimizer(options.optimizer, row, options.limits(), options.momentum)
            made.skipped = self.skipped[r : r + 1]
            self.replicas.append(NetworkReplica(row, made))

    def train(self, r: int, spliced: Tensor, labels: Tensor, rate: float, teacher: Teacher | None) -> Backward:
        """Train a worker's replica on a minibatch, (1, B, spliced_dim) and (1, B), and return what came of it."""
        replica = self.replicas[r]
        back = replica.network.backward(spliced, labels, None if teacher is None else teacher.soft(spliced))
        replica.optimizer.step(back, rate)
        return back

    def state_dict(self) -> State:
        states = [replica.optimizer.state() for replica in self.replicas]
        return State(per_worker={name: torch.cat([state[name] for state in states]) for name in states[0]})

    def load_state_dict(self, state: State) -> None:
        for r, replica in enumerate(self.replicas):
            replica.optimizer.restore({name: tensor[r : r + 1] for name, tensor in state.per_worker.items()})


class Tally:
    """Results of each worker's minibatches since its last push, (R, ...) each.

    loss (R,) float64: sum over frames, nats. correct (R,): frames whose best class is the label. scales (R, period):
    see Optimizer.max_change_scale, NaN where there is none. rates: learning rate per frame of the last minibatch.
    """

    def __init__(self, workers: int, period: int, device: torch.device) -> None:
        self.loss = torch.zeros(workers, dtype=torch.float64, device=device)
        self.correct = torch.zeros(workers, dtype=torch.int64, device=device)
        self.scales = torch.full((workers, period), torch.nan, device=device)
        self.counts, self.rates = [0] * workers, [0.0] * workers

    def add(self, worker: int, back: Backward, scale: Tensor, rate: float) -> None:
        """Count a minibatch. scale: (1,)."""
        self.loss[worker] += back.loss_sum[0]
        self.correct[worker] += back.correct[0]
        self.scales[worker, self.counts[worker]] = scale[0]
        self.counts[worker] += 1
        self.rates[worker] = rate

    def take(self, worker: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return (R,) loss and correct with the worker's numbers alone, and its (period,) scales; start it anew."""
        loss, correct = torch.zeros_like(self.loss), torch.zeros_like(self.correct)
        loss[worker], correct[worker], scales = self.loss[worker], self.correct[worker], self.scales[worker].clone()
        self.loss[worker], self.correct[worker], self.counts[worker] = 0, 0, 0
        self.scales[worker] = torch.nan
        return loss, correct, scales

    def tensors(self) -> dict[str, Tensor]:
        """Return the state's tensors by name, (R, ...) each; no copies."""
        return {"loss": self.loss, "correct": self.correct, "scales": self.scales}
