"""Stand-ins for what algorithms are given: models without a network, processes that are threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.sync_info import SyncInfo
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.synchronizer import Synchronizer
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import split

T = TypeVar("T")
SECONDS = 30.0  # for a thread that does not come


class Models:
    """What an algorithm asks of a StackedNetwork."""

    def __init__(self, parameters: Tensor) -> None:
        self.parameters, self.changes = parameters, 0

    def parameters_changed(self) -> None:
        self.changes += 1


class Threaded(Transport):
    """One of `size` threads; values of all lie on one table."""

    def __init__(self, rank: int, size: int, table: dict[int, Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, size
        self._table, self._barrier = table, barrier

    def all_gather_object(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait(SECONDS)
        values = [self._table[rank] for rank in range(self.size)]
        self._barrier.wait(SECONDS)
        return values

    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        return self.all_gather_object(value)[0]

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], None]:
        """The tensor holds its sum only once that was waited for."""
        total = torch.stack(self.all_gather_object(tensor.clone())).sum(dim=0, dtype=tensor.dtype)

        def wait() -> None:
            tensor.copy_(total)

        return wait

    def all_reduce_max(self, tensor: Tensor) -> None:
        tensor.copy_(torch.stack(self.all_gather_object(tensor.clone())).amax(dim=0))

    def start_broadcast(self, tensor: Tensor, rank: int) -> Callable[[], None]:
        """The tensor holds the rank's values only once that was waited for."""
        (values,) = [
            value
            for value in self.all_gather_object(tensor.clone() if rank == self.rank else None)
            if value is not None
        ]

        def wait() -> None:
            if rank != self.rank:
                tensor.copy_(values)

        return wait

    def close(self) -> None:
        pass


def together(size: int, job: Callable[[Transport], T]) -> list[T]:
    """What `job` returns in each of so many processes."""
    barrier, table = threading.Barrier(size), {}  # type: ignore[var-annotated]

    def one(rank: int) -> T:
        try:
            return job(Threaded(rank, size, table, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def sync_info(frames: list[int], index: int = 0, lr: float = 0.1, **other: Any) -> SyncInfo:
    """A synchronization of workers that are all valid, with losses of 0, unless said otherwise."""
    valid = np.array(other.get("valid", [True] * len(frames)))
    loss = np.array(other.get("loss", [0.0] * len(frames)))
    return SyncInfo(np.array(frames), loss, valid, lr, index)


def scheduler(
    models: Models,
    transport: Transport | None = None,
    *,
    optimizer: Any = None,
    optimizer_state: str = "keep",
    minibatches: int = 1,
    epochs: int = 99,
    **options: Any,
) -> SyncScheduler:
    """A scheduler for as many workers as there are models, unless `workers` is given. minibatches: of an epoch."""
    workers, constants = split(**{"workers": len(models.parameters), **options})
    group = WorkerGroup(workers.workers, transport or SingleProcess())
    algorithm = entry(workers.algorithm).cls(constants)
    return SyncScheduler(
        algorithm, group, models, workers, optimizer, optimizer_state, minibatches_per_epoch=minibatches, epochs=epochs
    )


def started(models: Models, transport: Transport | None = None, **options: Any) -> Synchronizer:
    """The synchronizer of such a scheduler."""
    return scheduler(models, transport, **options).synchronizer


def random_models(num_workers: int, size: int, seed: int) -> Tensor:
    """(K, P) float32."""
    return torch.randn(num_workers, size, generator=torch.Generator().manual_seed(seed))
