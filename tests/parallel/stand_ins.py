"""Stand-ins for what algorithms are given: models without a network, processes that are threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.sync_info import SyncInfo
from asr_parallel.parallel.transport import Transport

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


def meeting(frames: list[int], number: int = 0, rate: float = 0.1, **other: Any) -> SyncInfo:
    """A meeting of workers that are all kept, with losses of 0, unless said otherwise."""
    kept = np.array(other.get("kept", [True] * len(frames)))
    loss = np.array(other.get("loss", [0.0] * len(frames)))
    return SyncInfo(np.array(frames), loss, kept, rate, number)


def random_models(num_workers: int, size: int, seed: int) -> Tensor:
    """(K, P) float32."""
    return torch.randn(num_workers, size, generator=torch.Generator().manual_seed(seed))
