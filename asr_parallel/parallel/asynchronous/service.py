"""The server's answers: what each request does to the center, to the leases, and to what processes tell each other."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from asr_parallel.parallel.asynchronous.connection import octets_of
from asr_parallel.parallel.asynchronous.messages import (
    Header,
    Kind,
    ProtocolError,
    as_body,
    json_body,
    json_value,
)
from asr_parallel.parallel.state import State
from asr_parallel.record.log import logger

MEASURED = ("frames", "loss_sum", "correct", "scale_sum", "applied", "skipped", "waited_seconds")


class CenterLike(Protocol):
    """A center as the server has it; see center.py."""

    @property
    def version(self) -> int: ...
    @property
    def frames(self) -> int: ...
    def fetch(self) -> Any: ...
    def push(self, message: Tensor, version: int, frames: int) -> None: ...
    def state_dict(self) -> State: ...


class LeasesLike(Protocol):
    """Leases as the server gives them out; see leases.py."""

    def lease(self, worker: int) -> Any: ...
    def lost(self, worker: int) -> None: ...
    def state_dict(self) -> State: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back. borrows: the body is the center's own memory."""

    kind: Kind
    body: np.ndarray
    version: int = 0
    frames: int = 0
    borrows: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """What is trained: a center, the leases that are left, parameters P of a model, and the number of workers."""

    center: CenterLike
    leases: LeasesLike
    parameters: int
    workers: int


Begin = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Run]


class RefusedError(ValueError):
    """A request that is understood but not granted; its connection stays."""


class Service:
    """The center of a run, its leases, and a board of small values, as requests see them.

    run: None until rank 0 has begun it.
    refused: pushes that were not finite.
    queue: how often so many pushes had come when one was applied, itself included.
    stopping: whether workers are asked to stop.
    """

    def __init__(self, begin: Begin) -> None:
        """Take what makes a center and leases of JSON values and tensors from rank 0."""
        self._begin = begin
        self.run: Run | None = None
        self.board: dict[str, Any] = {}
        self.measured = dict.fromkeys(MEASURED, 0.0)
        self.refused, self.stopping, self.finished = 0, False, False
        self.queue: Counter[int] = Counter()
        self.here: set[int] = set()  # workers that are connected
        self.gone: set[int] = set()  # workers that were lost

    @property
    def counted(self) -> tuple[int, int]:
        """Version of the center, and frames that it has counted."""
        return (0, 0) if self.run is None else (self.run.center.version, self.run.center.frames)

    def answer(self, header: Header, body: np.ndarray, finite: bool, rank: int) -> Reply:
        """Return the reply to a whole request.

        Raises:
            ProtocolError: a body that is not what its kind says.
            RefusedError: not granted, or nothing to grant yet.
        """
        if header.kind is Kind.CALL:
            return Reply(Kind.VALUE, json_body(self._call(json_value(body), rank)))
        if header.kind is Kind.BEGIN:
            return self._begun(body)
        if self.run is None:
            raise RefusedError("there is no center yet")
        if header.kind is Kind.FETCH:
            fetched = self.run.center.fetch()
            octets = octets_of(fetched.params)
            return Reply(Kind.MODEL, octets, fetched.version, fetched.frames, borrows=True)
        if header.kind is Kind.PUSH:
            return self._pushed(self.run, header, body, finite)
        if header.kind is Kind.LEASE:
            return self._leased(self.run, header.worker, json_value(body))
        assert header.kind is Kind.SAVE, header
        return Reply(Kind.STATE, self._state(self.run))

    def lost(self, worker: int) -> None:
        """Take back what a lost worker was to train on."""
        self.here.discard(worker)
        self.gone.add(worker)
        if self.run is not None:
            self.run.leases.lost(worker)

    def _call(self, value: Any, rank: int) -> Any:
        try:
            name, arguments = value["call"], value["arguments"]
            if name == "get":
                return {"there": arguments in self.board, "value": self.board.get(arguments)}
            if name == "status":
                return self._status()
            if name == "stop":
                self.stopping = True
                return None
            if rank:
                raise ProtocolError(f"call {name!r} of rank {rank}; expected get, status or stop")
            if name == "put":
                self.board[arguments["name"]] = arguments["value"]
            elif name == "finish":
                self.finished = True
            else:
                raise ProtocolError(f"call {name!r}; expected get, status, stop, put or finish")
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"a call that is not complete: {error}") from error
        return None

    def _begun(self, body: np.ndarray) -> Reply:
        try:
            tensors = load(body.tobytes())
            described = json_value(tensors.pop("described").numpy())
        except (SafetensorError, KeyError) as error:
            raise ProtocolError(f"a body that is not safetensors: {error}") from error
        self.run = self._begin(described, tensors)
        return Reply(Kind.VALUE, json_body(None))

    def _pushed(self, run: Run, header: Header, body: np.ndarray, finite: bool) -> Reply:
        if not finite:
            self.refused += 1
            raise RefusedError(f"worker {header.worker}: the numbers pushed are not finite")
        if header.version > run.center.version:
            raise ProtocolError(f"a push from version {header.version}; the center's is {run.center.version}")
        run.center.push(torch.from_numpy(body.view(np.float32)), header.version, header.frames)
        return Reply(Kind.APPLIED, json_body(None), *self.counted)

    def _leased(self, run: Run, worker: int, measured: Any) -> Reply:
        if not isinstance(measured, dict) or not all(
            isinstance(measured.get(name, 0.0), int | float) for name in MEASURED
        ):
            raise ProtocolError(f"measurements {str(measured)[:200]}; expected numbers")
        for name in MEASURED:
            self.measured[name] += float(measured.get(name, 0.0))
        lease = None if self.stopping else run.leases.lease(worker)
        return Reply(Kind.LEASED, json_body({"lease": lease, "stop": self.stopping}), *self.counted)

    def _state(self, run: Run) -> np.ndarray:
        center, leases = run.center.state_dict(), run.leases.state_dict()
        values = {"center": dict(center.values), "leases": dict(leases.values), "measured": self.measured}
        return packed_tensors(values, center.shared)

    def _status(self) -> dict[str, Any]:
        status = {
            "here": sorted(self.here), "gone": sorted(self.gone), "stopping": self.stopping, "refused": self.refused,
            "queue": sorted(self.queue.items()), "measured": self.measured,
        }  # fmt: skip
        status["version"], status["frames"] = self.counted
        return status


def packed_tensors(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> np.ndarray:
    """Return JSON values and tensors as one body, in the format of safetensors."""
    octets = torch.from_numpy(json_body(described).copy())
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return as_body(save({**plain, "described": octets}))


def unpacked_tensors(body: np.ndarray) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what packed_tensors was given."""
    tensors = load(body.tobytes())
    return json_value(tensors.pop("described").numpy()), tensors


def log_refusal(who: object, reason: object) -> None:
    """Log that something was refused, and not applied."""
    logger.warning("refused: %s: %s", who, reason)
