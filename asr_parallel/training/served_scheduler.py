"""The exchanges of the asynchronous workers of one process with the server that has the center."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet.stacked import Backward
from asr_parallel.parallel.algorithm import Replicas as Models
from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.board import ServedRun
from asr_parallel.parallel.asynchronous.client import RemoteCenter
from asr_parallel.parallel.asynchronous.life import Life, Phase, Place
from asr_parallel.parallel.asynchronous.service import MEASURED, Plan
from asr_parallel.parallel.asynchronous.worker import Worker
from asr_parallel.parallel.state import State
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions
from asr_parallel.record.child_processes import STOP_SECONDS
from asr_parallel.record.log import logger
from asr_parallel.record.timer import NoTimer, Timer
from asr_parallel.training.leased_data import LeasedData
from asr_parallel.training.replicas import NetworkReplica

POLL_SECONDS = 0.05  # between two questions whether minibatches of others have come back

Data = Iterator[tuple[Tensor, Tensor]]
Minibatches = Generator[tuple[Tensor, Tensor], None, None]
Train = Callable[[int, Data, int], int]  # a minibatch: worker of this process, data, frames for the learning rate


class ServedScheduler:
    """This process's workers, each at its own pace, and what rank 0 asks of the server. See AsyncScheduler.

    plan: what rank 0 begins the run with.
    workers: numbers of this process's workers.
    """

    synchronizes = True
    sync_due = False

    def __init__(
        self, algorithm: AsyncAlgorithm, group: WorkerGroup, options: WorkerOptions, served: ServedRun,
        replicas: list[NetworkReplica], workers: range, counts: list[int], epochs: int,
    ) -> None:  # fmt: skip
        """Exchange nothing yet.

        Args:
            counts: minibatches of each worker's share in an epoch.

        Raises:
            ValueError: constants that the number of workers forbids.
        """
        algorithm.start(group.num_workers)
        self.algorithm, self.group, self.options, self.workers = algorithm, group, options, workers
        self._served, self._client, self._replicas = served, served.client, replicas
        self._initial: State | None = algorithm.center(replicas[0].params.cpu()).state_dict()
        assert algorithm.period is not None
        self.plan = Plan(
            options.algorithm, asdict(algorithm.options), counts, epochs, algorithm.period,
            not algorithm.options.leave_unread, dict(self._initial.values), None, dict.fromkeys(MEASURED, 0.0),
        )  # fmt: skip
        self._seen = dict.fromkeys(MEASURED, 0.0)  # of `measured`, what rank 0 has recorded
        self._model = torch.empty_like(replicas[0].params, device="cpu")

    @property
    def num_syncs(self) -> int:
        """Pushes so far."""
        return self._client.version

    @property
    def frames(self) -> int:
        """Frames that the center had counted when a worker of this process last heard of it."""
        return max(client.frames for client in self.center.clients.values())

    def begin(self) -> None:
        """Give the server the initial model, unless a checkpoint was loaded. Rank 0 alone."""
        if self._initial is not None:
            self._client.begin(self.plan, self._initial.shared)
            self._initial = None

    def join(self) -> None:
        """Let this process's workers join; they start from the center."""
        self._initial = None
        self.center: RemoteCenter = self._served.center(self.workers, self._replicas[0].params)
        self._workers = [
            Worker(number, self.algorithm, replica, self.center)
            for number, replica in zip(self.workers, self._replicas, strict=True)
        ]
        assert self.algorithm.period is not None
        self._lives = [Life(self.algorithm.exchange, self.algorithm.period) for _ in self.workers]
        self._measured = [_Measured(replica.params.device) for replica in self._replicas]

    def actions(self, train: Train, read: Callable[[Iterator[Place]], Minibatches]) -> Iterator[None]:
        """Let the workers act, each in its turn, and yield after every action, until nothing is left.

        Args:
            train: update a replica by a minibatch.
            read: return the minibatches at these places; see LeasedData.
        """
        data = [LeasedData(read, self.plan.counts, self.plan.epochs) for _ in self.workers]
        with ExitStack() as held:
            for of_worker in data:
                held.callback(of_worker.close)
            while self._lease_again() or any(life.phase != Phase.DONE for life in self._lives):
                for n, life in enumerate(self._lives):
                    if life.phase != Phase.DONE:
                        self._act(n, life, train, data[n])
                    yield

    def measure(self, n: int, back: Backward, scale: Tensor) -> None:
        """Count a minibatch of this process's n-th worker; scale: (1,)."""
        self._measured[n].add(back, scale)

    def observe(self) -> tuple[int, dict[str, float], dict[str, float]]:
        """Return the frames counted, what was measured since the last call, and in all. Rank 0 alone."""
        status = self._client.call("status")
        total = status["measured"]
        since = {name: total[name] - self._seen[name] for name in MEASURED}
        self._seen = dict(total)
        return status["frames"], since, total

    def stop(self, number: int, actions: Iterator[None], timeout: float) -> None:
        """Ask all workers to stop, and wait until they have pushed, and those of other processes left. Rank 0 alone.

        Args:
            number: the signal.
            actions: of this process's workers, which do what is left of them.
            timeout: seconds to wait.
        """
        self._client.call("stop", number)
        deadline = time.monotonic() + min(timeout, STOP_SECONDS / 2)
        for _ in actions:
            if time.monotonic() > deadline:
                break
        while set(self._client.call("status")["here"]) - set(self.workers) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def model(self, replicas: Models) -> Tensor:
        if self._initial is not None:
            return self._replicas[0].params
        self._client.fetch_into(self._model)
        return self._model.to(replicas.parameters.device)

    def finish(self, replicas: Models) -> Tensor:
        """Return (P,) the final model, the center's; all workers have pushed what they have learnt."""
        return self.model(replicas)

    def finite_mask(self, replicas: Models) -> np.ndarray:
        """Return (K,) bool; the center takes no message that is not finite."""
        return np.ones(self.group.num_workers, dtype=bool)

    def stats(self, timer: Timer | NoTimer) -> dict[str, Any]:
        """Return statistics, also logged.

        Returns:
            syncs: pushes, since the training began; pushes: of each worker, of this run; refused: pushes that the
            server has refused; bytes_per_worker: of pushes, mean; staleness: how often a push came so many versions
            after its worker's fetch; queue: how often so many workers waited when one was served, itself included;
            unread: minibatches that nobody has trained on; gone: lost workers.
        """
        status = self._client.call("status")
        pushes = sum(count for _, count in status["staleness"])
        mean = sum(versions * count for versions, count in status["staleness"]) / max(1, pushes)
        logger.info(
            "%d pushes, staleness %.3g on average, %d at most", pushes, mean,
            max((versions for versions, _ in status["staleness"]), default=0),
        )  # fmt: skip
        if status["unread"]:
            logger.warning("%d minibatches were not read, of workers that were lost", status["unread"])
        return {
            "syncs": pushes,
            "pushes": status["pushes"],
            "refused": status["refused"],
            "bytes_per_worker": 4 * len(self._model) * pushes // self.group.num_workers,
            "staleness": {str(versions): count for versions, count in status["staleness"]},
            "queue": {str(length): count for length, count in status["queue"]},
            "unread": status["unread"],
            "gone": status["gone"],
        }

    def state_dict(self) -> State:
        """Return the state of the center and of the leases; workers start from the center again."""
        values, tensors = self._client.state()
        return State(tensors, values={**values, "seen": self._seen})

    def load_state_dict(self, state: State) -> None:
        """Begin the run from what `state_dict` returned; ValueError when it is of another kind."""
        values = state.values
        if not {"center", "leases", "measured", "seen"} <= values.keys():
            raise ValueError("checkpoint of a training without a server; expected one of several processes")
        plan = {**asdict(self.plan), **{name: values[name] for name in ("center", "leases", "measured")}}
        self._client.begin(Plan(**plan), state.shared)
        self._seen, self._initial = dict(values["seen"]), None

    def _act(self, n: int, life: Life, train: Train, data: LeasedData) -> None:
        worker = self._workers[n]
        if life.phase == Phase.FETCH:
            worker.fetch()
        elif life.phase == Phase.PUSH:
            self.center.measured[worker.number] = self._measured[n].take()
            worker.push()
        else:
            assert life.lease is not None
            if life.done == 0:
                data.begin(life.lease)
            worker.step(lambda frames: train(n, data, frames))
        life.advance(lambda: self.center.lease(worker.number))

    def _lease_again(self) -> bool:
        """Tell whether workers that are done may get minibatches of others who are lost."""
        done = [n for n, life in enumerate(self._lives) if life.phase == Phase.DONE]
        if len(done) < len(self._lives) or self.center.stopping:
            return False
        for n in done:
            lease = self.center.lease(self._workers[n].number)
            if lease is not None:
                self._lives[n].go_on(lease)
                return True
        if self.center.waiting:
            time.sleep(POLL_SECONDS)
        return self.center.waiting


class _Measured:
    """Sums over a worker's minibatches since its last push, on its device."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64, device=device)

    def add(self, back: Backward, scale: Tensor) -> None:
        applied = ~scale.isnan()
        self._sums += torch.cat([back.loss_sum, back.correct, scale.nan_to_num(0.0), applied, ~applied]).double()

    def take(self) -> dict[str, float]:
        """Return the sums by name; start anew."""
        sums = dict(zip(("loss_sum", "correct", "scale_sum", "applied", "skipped"), self._sums.tolist(), strict=True))
        self._sums.zero_()
        return sums
