"""The exchanges of asynchronous workers in one process, by a simulation of their speeds."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.clock.async_durations import make_timeline, simulated_durations
from asr_parallel.parallel.algorithm import Replicas as Models
from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.life import Phase, Place
from asr_parallel.parallel.asynchronous.port import LocalPort
from asr_parallel.parallel.asynchronous.simulation import Event
from asr_parallel.parallel.asynchronous.worker import Worker
from asr_parallel.parallel.state import State, copy_tensors
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import WorkerOptions
from asr_parallel.record.log import logger
from asr_parallel.record.timer import OTHER, NoTimer, Timer
from asr_parallel.training.replicas import NetworkReplica, Tally

Train = Callable[[int, int], int]  # a minibatch: worker, frames for the learning rate; returns frames trained on


class AsyncScheduler:
    """K workers, a center and the order of their actions.

    center: see parallel/asynchronous/center.py. timeline: see parallel/asynchronous/simulation.py.
    tally: what workers have trained on since they last pushed.
    """

    synchronizes = True
    sync_due = False

    def __init__(
        self, algorithm: AsyncAlgorithm, group: WorkerGroup, options: WorkerOptions, replicas: list[NetworkReplica],
        counts: list[int], epochs: int, minibatch: int, seed: int,
    ) -> None:  # fmt: skip
        """Start the center from the first worker's model; all begin from it.

        Args:
            counts: minibatches of each worker's share in an epoch.
            minibatch: frames.
            seed: of the durations.

        Raises:
            ValueError: constants that the number of workers forbids, or several processes.
        """
        if group.transport.size > 1:
            raise ValueError(
                f"algorithm {options.algorithm} in {group.transport.size} processes: expected one, which simulates the"
                " workers"
            )
        algorithm.start(group.num_workers)
        self.algorithm, self.group, self.options = algorithm, group, options
        params = replicas[0].params
        self.center = algorithm.center(params)
        durations = simulated_durations(algorithm, group.num_workers, len(params), minibatch, seed)
        self.timeline = make_timeline(algorithm, counts, epochs, durations)
        port = LocalPort(self.center, self.timeline.leases)
        self.workers = [Worker(k, algorithm, replica, port) for k, replica in enumerate(replicas)]
        self._kept = torch.zeros(len(replicas), len(params), device=params.device)
        for worker, kept in zip(self.workers, self._kept, strict=True):
            worker.kept = kept
        assert algorithm.period is not None
        self.tally = Tally(len(replicas), algorithm.period, params.device)

    @property
    def num_syncs(self) -> int:
        """Pushes so far."""
        return self.center.version

    def places_ahead(self) -> Iterator[Place]:
        """Return the minibatches that are left now, in the order in which they will be trained on.

        That does not depend on what is learnt, so a copy of the timeline knows it.
        """
        ahead = deepcopy(self.timeline)
        return (event.place for event in ahead.run() if event.place is not None)

    def pushes(self, train: Train) -> Iterator[Event]:
        """Yield the pushes that are left, before each is done by `push`; do all else in between."""
        while (event := self.timeline.next_event()) is not None:
            worker = self.workers[event.worker]
            if event.phase == Phase.PUSH:
                yield event
                continue
            if event.phase == Phase.FETCH:
                worker.fetch()
            else:
                worker.step(lambda frames, event=event: train(event.worker, frames))  # type: ignore[misc]
            self.timeline.go_on(event)

    def push(self, event: Event) -> None:
        """Do a push, and let its worker go on."""
        self.workers[event.worker].push()
        self.timeline.go_on(event)

    def model(self, replicas: Models) -> Tensor:
        return self.center.model()

    def finish(self, replicas: Models) -> Tensor:
        """Return (P,) the final model, the center's; all workers have pushed what they have learnt."""
        for worker in self.workers:
            worker.settle()
        return self.center.model()

    def finite_mask(self, replicas: Models) -> np.ndarray:
        """Return (K,) bool, whose model is finite."""
        mask: np.ndarray = replicas.parameters.sum(dim=1).isfinite().cpu().numpy()
        return mask

    def stats(self, timer: Timer | NoTimer) -> dict[str, Any]:
        """Return statistics, also logged.

        Returns:
            syncs: pushes; left_out: how often each worker's model was given up; bytes_per_worker: of pushes, mean;
            ranks: of the one process; staleness: how often a push came so many versions after its worker's fetch;
            fetch_queue, push_queue: how often a request found so many others before it; modelled_seconds: of the whole.
        """
        own: dict[str, Any] = {"workers": list(self.group.local_workers), "waited_seconds": 0.0, "moved_seconds": 0.0}
        if isinstance(timer, Timer):
            timer.enter(OTHER)
            own["phases"] = timer.total
        state, timeline = self.center.state_dict().values, self.timeline.stats()
        pushes = sum(self.center.staleness.values())
        mean = sum(versions * count for versions, count in self.center.staleness.items()) / max(1, pushes)
        logger.info(
            "%d pushes, staleness %.3g on average, %d at most; %.6g modelled seconds",
            pushes, mean, max(self.center.staleness, default=0), self.timeline.seconds,
        )  # fmt: skip
        return {
            "syncs": pushes,
            "left_out": [worker.restarts for worker in self.workers],
            "bytes_per_worker": 4 * len(self.center.params) * pushes // self.group.num_workers,
            "ranks": [own],
            "staleness": state["staleness"],
            **timeline,
        }

    def state_dict(self) -> State:
        center = self.center.state_dict()
        values = {
            "center": center.values, "timeline": self.timeline.state(), "rates": list(self.tally.rates),
            "counts": list(self.tally.counts), "workers": [worker.state() for worker in self.workers],
        }  # fmt: skip
        return State(center.shared, {"kept": self._kept, **self.tally.tensors()}, values)

    def load_state_dict(self, state: State) -> None:
        """Go on from what `state_dict` returned; ValueError when it is of another algorithm or size."""
        copy_tensors({"kept": self._kept, **self.tally.tensors()}, state.per_worker, "algorithm, of workers")
        values = state.values
        self.center.load_state_dict(State(state.shared, values=values["center"]))
        self.timeline.load(values["timeline"])
        self.tally.rates, self.tally.counts = list(values["rates"]), list(values["counts"])
        for worker, of_one in zip(self.workers, values["workers"], strict=True):
            worker.load(of_one)
