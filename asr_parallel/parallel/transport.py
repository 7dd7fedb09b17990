"""The transport of flat tensors, and of small JSON values, between processes.

Every call here is collective: all processes of a run make the same calls in the same order.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from asr_parallel.record.log import logger

TIMEOUT_SECONDS = 60.0  # torchft's Manager, for a process that does not answer
START_SECONDS = 600.0  # rank 0 may read a whole frame store to know it again before it answers the first time
WORK_SECONDS = 7 * 86400.0  # rank 0 may be busy alone; should it die, so does its store, and nobody waits on
ALIVE_SECONDS = 3.0  # in which those that are left say so when one is lost


class LostError(OSError):
    """Another process of the run was lost, or did not answer in time."""

    def __init__(self, message: str) -> None:
        super().__init__(0, message)

    def __str__(self) -> str:
        return str(self.args[1])


class Transport(ABC):
    """The processes of a run.

    rank, size: this process's number from 0, and how many there are.
    bytes_sent: what this process has given to sums and the like; a ring sends 2 (size - 1) / size times as many.
    """

    rank: int = 0
    size: int = 1
    bytes_sent: int = 0

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace a contiguous tensor by its sum over all processes, the same bits in each."""
        self.start_all_reduce(tensor)()

    @abstractmethod
    def start_all_reduce(self, tensor: Tensor) -> Callable[[], None]:
        """Begin what `all_reduce` does; return a function that waits for its end.

        Call that once, before the tensor is read.
        """

    @abstractmethod
    def all_reduce_max(self, tensor: Tensor) -> None:
        """Replace a contiguous tensor by the largest, element by element, of all processes'."""

    @abstractmethod
    def start_broadcast(self, tensor: Tensor, rank: int) -> Callable[[], None]:
        """Begin to replace a contiguous tensor by that of a rank; return a function that waits for its end."""

    @abstractmethod
    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by rank."""

    @abstractmethod
    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        """Rank 0's JSON value, in every process. seconds: how long the others wait; the run's timeout unless given."""

    def all_reduce_scalars(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums, number by number, over all processes, the same bits in each. For a few, now and then."""
        return [sum(of_all) for of_all in zip(*self.all_gather_object(list(numbers)), strict=True)]

    def barrier(self) -> None:
        """Go on when all processes have come here."""
        self.all_gather_object(None)

    def shrink_group(self) -> list[int]:
        """Go on without processes that are lost; returns the former ranks of those that are left."""
        raise LostError(f"rank {self.rank}: nobody to go on with")

    @abstractmethod
    def close(self) -> None:
        """Leave the group. Not collective."""


class SingleProcess(Transport):
    """A transport without other processes."""

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], None]:
        return _nothing

    def all_reduce_max(self, tensor: Tensor) -> None:
        pass

    def start_broadcast(self, tensor: Tensor, rank: int) -> Callable[[], None]:
        return _nothing

    def all_gather_object(self, value: Any) -> list[Any]:
        return [value]

    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        return value

    def close(self) -> None:
        pass


class Distributed(Transport):
    """torch.distributed: gloo between CPUs, NCCL between GPUs; small values go through its key-value store."""

    def __init__(self, rank: int, size: int, store: dist.Store, device: torch.device, timeout: float) -> None:
        """Join the others.

        Args:
            store: reached by all.
            device: of the tensors that will be summed.
            timeout: seconds without an answer after which a process counts as lost.

        Raises:
            LostError: not all processes came.
        """
        self.rank, self.size = rank, size
        self._store, self._device, self._timeout = store, device, timeout
        self._turn = 0
        self._read: list[str] = []  # own keys in the store, oldest first
        self._join_group()

    def _join_group(self) -> None:
        on_gpu = self._device.type == "cuda"
        try:
            dist.init_process_group(
                "nccl" if on_gpu else "gloo", store=dist.PrefixStore("group", self._store), rank=self.rank,
                world_size=self.size, timeout=timedelta(seconds=self._timeout),
                device_id=self._device if on_gpu else None,
            )  # fmt: skip
        except RuntimeError as error:
            raise LostError(
                f"rank {self.rank}: not all of {self.size} processes came within {self._timeout:g} s: {error}"
            ) from error

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], None]:
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def all_reduce_max(self, tensor: Tensor) -> None:
        self._reduce(tensor, dist.ReduceOp.MAX)()

    def _reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Callable[[], None]:
        assert tensor.is_contiguous()
        self.bytes_sent += tensor.numel() * tensor.element_size()
        return self._started(lambda: dist.all_reduce(tensor, operation, async_op=True))

    def start_broadcast(self, tensor: Tensor, rank: int) -> Callable[[], None]:
        assert tensor.is_contiguous()
        if rank == self.rank:
            self.bytes_sent += tensor.numel() * tensor.element_size()
        octets = tensor.view(torch.uint8)  # neither gloo nor NCCL knows int16
        return self._started(lambda: dist.broadcast(octets, rank, async_op=True))

    def send(self, tensor: Tensor, rank: int) -> None:
        """Send a tensor to a rank that receives it."""
        self.bytes_sent += tensor.numel() * tensor.element_size()
        self._started(lambda: _work(dist.isend(tensor, rank)))()

    def receive(self, tensor: Tensor, rank: int) -> None:
        """Fill a tensor with one that a rank sends."""
        self._started(lambda: _work(dist.irecv(tensor, rank)))()

    def _started(self, begin: Callable[[], dist.Work]) -> Callable[[], None]:
        """Begin a call of torch.distributed; returns what waits for its end."""
        try:
            work = begin()
        except RuntimeError as error:
            raise self._lost(error) from error

        def wait() -> None:
            try:
                work.wait()
            except RuntimeError as error:
                raise self._lost(error) from error

        return wait

    def all_gather_object(self, value: Any) -> list[Any]:
        self._turn += 1
        self._put(f"gather/{self._turn}/{self.rank}", value)
        values = [self._get(f"gather/{self._turn}/{rank}", self._timeout) for rank in range(self.size)]
        for key in self._read[:-1]:  # who has come here has read all that was before
            self._store.delete_key(key)
        self._read = self._read[-1:]
        return values

    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        self._turn += 1
        key = f"share/{self._turn}"
        if self.rank == 0:
            self._put(key, value)
            return json.loads(json.dumps(value))
        return self._get(key, seconds or self._timeout)

    def shrink_group(self) -> list[int]:
        """Go on without those that are lost, under new ranks. To be called by all that are left, after a LostError.

        Rank 0 waits for `timeout` seconds at most: others may be busy, and find out only when they want to meet.

        Returns:
            The ranks, until now, of those that are left; the new ranks are their places in it.

        Raises:
            LostError: rank 0 is lost, which keeps the store; or the others have gone on without this one.
        """
        dist.destroy_process_group()  # its connections end, by which others notice
        try:
            self._store.set(f"left/{self.rank}", "")
            if self.rank == 0:
                deadline, left = time.monotonic() + self._timeout, [0]
                while len(left) < self.size and time.monotonic() < deadline:
                    time.sleep(0.1)
                    left = [rank for rank in range(self.size) if self._store.check([f"left/{rank}"])]
                self._store.set("left", json.dumps(left))
            self._store.wait(["left"], timedelta(seconds=2 * self._timeout + ALIVE_SECONDS))
            left = list(json.loads(self._store.get("left")))
        except RuntimeError as error:
            raise LostError(f"rank {self.rank}: rank 0, which kept the store of the run, is lost") from error
        if self.rank not in left:
            raise LostError(f"rank {self.rank}: the others counted this process as lost and have gone on without it")
        self.rank, self.size, self._turn, self._read = left.index(self.rank), len(left), 0, []
        self._store = dist.PrefixStore("without", self._store)
        self._join_group()
        return left

    def close(self) -> None:
        """Leave the group; rank 0, which may keep the store, waits a moment for the others to read from it."""
        try:
            if self.rank:
                self._store.set(f"closed/{self.rank}", "")
            else:
                keys = [f"closed/{rank}" for rank in range(1, self.size)]
                self._store.wait(keys, timedelta(seconds=ALIVE_SECONDS))
        except RuntimeError as error:
            logger.debug("closing: %s", error)
        if dist.is_initialized():  # not when others were lost and nobody was left
            dist.destroy_process_group()

    def _put(self, key: str, value: Any) -> None:
        try:
            self._store.set(key, json.dumps(value))
            self._read.append(key)
        except RuntimeError as error:
            raise self._lost(error) from error

    def _get(self, key: str, seconds: float) -> Any:
        try:
            self._store.wait([key], timedelta(seconds=seconds))
            return json.loads(self._store.get(key))
        except RuntimeError as error:
            raise self._lost(error, seconds) from error

    def _lost(self, error: Exception, seconds: float | None = None) -> LostError:
        """Return who is lost: those left say so in the store, which is gone if rank 0 held it."""
        try:
            self._store.set(f"alive/{self.rank}", "")
            deadline = time.monotonic() + ALIVE_SECONDS
            missing = list(range(self.size))
            while missing and time.monotonic() < deadline:
                time.sleep(0.1)
                missing = [rank for rank in missing if not self._store.check([f"alive/{rank}"])]
            ranks = ", ".join(map(str, missing))
        except RuntimeError:
            ranks = "0, which kept the store of the run,"
        what = f"rank {ranks} of {self.size} lost" if ranks else f"no answer within {seconds or self._timeout:g} s"
        return LostError(f"rank {self.rank}: {what} ({' '.join(str(error).split())[:200]})")


def _work(started: dist.Work | None) -> dist.Work:
    assert started is not None  # None stands for a process outside of the group
    return started


def _nothing() -> None:
    pass
