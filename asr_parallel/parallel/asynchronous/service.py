"""The server's answers: what each request does to the center, to the leases, and to what processes tell each other."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from asr_parallel.parallel.asynchronous.center import Center
from asr_parallel.parallel.asynchronous.connection import octets_of
from asr_parallel.parallel.asynchronous.leases import Leases
from asr_parallel.parallel.asynchronous.messages import (
    NO_WORKER,
    Header,
    Kind,
    ProtocolError,
    as_body,
    json_body,
    json_value,
)
from asr_parallel.parallel.registry import asynchronous, entry
from asr_parallel.parallel.state import State
from asr_parallel.record.log import logger

MEASURED = ("loss_sum", "correct", "scale_sum", "applied", "skipped", "waited_seconds")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a request. borrows: the body is the center's own memory."""

    kind: Kind
    body: np.ndarray
    version: int = 0
    frames: int = 0
    borrows: bool = False


@dataclass(frozen=True)
class Plan:
    """The plan of a run, from rank 0 to the server.

    algorithm, options: its name, and its own options by name.
    counts: minibatches of each worker's share in an epoch. epochs, period: as for Leases.
    hand_over: whether others train on what a lost worker had left.
    center, leases: values of their state; None: all leases are left.
    measured: sums over what was trained on before, by name.
    """

    algorithm: str
    options: dict[str, Any]
    counts: list[int]
    epochs: int
    period: int
    hand_over: bool
    center: dict[str, Any]
    leases: dict[str, Any] | None
    measured: dict[str, float]


class Run:
    """A center and the leases that are left.

    workers: K. parameters: P of a model.
    """

    def __init__(self, plan: Plan, tensors: Mapping[str, Tensor]) -> None:
        """Begin, or go on, from a plan and the tensors of the center's state.

        What was out with workers, when the state was taken, is given out again.
        """
        rule = asynchronous(plan.algorithm)(entry(plan.algorithm).options(**plan.options))
        self.workers, self.hand_over = len(plan.counts), plan.hand_over
        rule.start(self.workers)
        self.center: Center = rule.center(tensors["params"])
        self.center.load_state_dict(State(tensors, values=plan.center))
        self.leases = Leases(plan.counts, plan.epochs, plan.period)
        self.parameters = len(self.center.params)
        if plan.leases is not None:
            self.leases.load(plan.leases)
            for worker in range(self.workers):
                self.leases.lost(worker)


class RefusedError(ValueError):
    """A request that is understood but not granted; its connection stays."""


class Service:
    """The center of a run, its leases, and a board of small values, as requests see them.

    run: None until rank 0 has begun it.
    measured: sums over all pushes that were applied, by name.
    queue: how often so many workers were to be served when a push was applied, its own included.
    pushes: of each worker.
    stopping: the signal for which workers are asked to stop, or 0. finished: whether rank 0 has all that it needs.
    ranks: processes that have ever come. here, gone: workers that are connected, and that were lost.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.board: dict[str, Any] = {}
        self.measured = dict.fromkeys(MEASURED, 0.0)
        self.refused, self.stopping, self.finished = 0, 0, False
        self.queue: Counter[int] = Counter()
        self.pushes: Counter[int] = Counter()
        self.ranks: set[int] = set()
        self.here: set[int] = set()
        self.gone: set[int] = set()
        self._busy: set[int] = set()  # workers with minibatches whose result is not pushed

    @property
    def counted(self) -> tuple[int, int]:
        """Version of the center, and frames that it has counted."""
        return (0, 0) if self.run is None else (self.run.center.version, self.run.center.frames)

    def joined(self, worker: int) -> None:
        """Take note of a worker that has come."""
        assert self.run is not None
        self.here.add(worker)
        self.gone.discard(worker)
        self.run.leases.joined(worker)

    def left(self, worker: int) -> None:
        """Take note of a worker that has said goodbye."""
        self.here.discard(worker)
        self._busy.discard(worker)

    def lost(self, worker: int) -> None:
        """Take back what a lost worker was to train on."""
        self.left(worker)
        self.gone.add(worker)
        assert self.run is not None
        self.run.leases.lost(worker, self.run.hand_over)

    def answer(self, header: Header, body: np.ndarray, rank: int) -> Reply:
        """Return the reply to a whole request.

        Raises:
            ProtocolError: a body that is not what its kind says.
            RefusedError: not granted, or nothing to grant yet.
        """
        if header.kind is Kind.CALL:
            return Reply(Kind.VALUE, json_body(self._call(json_value(body), rank)))
        if header.kind is Kind.BEGIN:
            return self._begin(body)
        assert self.run is not None, header  # else its kind is not among the connection's
        if header.kind is Kind.FETCH:
            center = self.run.center  # of which a process asks for the model to be evaluated
            params = center.model() if header.worker == NO_WORKER else center.fetch().params
            return Reply(Kind.MODEL, octets_of(params), *self.counted, borrows=True)
        if header.kind is Kind.PUSH:
            return self._push(self.run, header, body)
        if header.kind is Kind.LEASE:
            return self._lease(self.run, header.worker)
        assert header.kind is Kind.SAVE, header
        return Reply(Kind.STATE, self._state(self.run))

    def _call(self, value: Any, rank: int) -> Any:
        try:
            name, arguments = value["call"], value["arguments"]
            if name == "get":
                return {"there": arguments in self.board, "value": self.board.get(arguments)}
            if name == "status":
                return self._status()
            if name == "stop":
                self.stopping = self.stopping or int(arguments)
                return None
            if rank:
                raise ProtocolError(f"call {name!r} of rank {rank}; expected get, status or stop")
            if name == "put":
                self.board[arguments["name"]] = arguments["value"]
            elif name == "finish":
                self.finished = True
            else:
                raise ProtocolError(f"call {name!r}; expected get, status, stop, put or finish")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ProtocolError):
                raise
            raise ProtocolError(f"a call that is not complete: {error}") from error
        return None

    def _begin(self, body: np.ndarray) -> Reply:
        if self.run is not None:
            raise RefusedError("the run has begun already")
        try:
            described, tensors = unpacked_tensors(body)
            plan = Plan(**described)
        except (SafetensorError, KeyError, TypeError) as error:
            raise ProtocolError(f"a plan that is not complete: {error}") from error
        self.run = Run(plan, tensors)
        self.measured |= plan.measured
        return Reply(Kind.VALUE, json_body(None))

    def _push(self, run: Run, header: Header, body: np.ndarray) -> Reply:
        try:
            run.center.push(torch.from_numpy(body.view(np.float32)), header.version, header.frames)
        except ValueError as error:
            self.refused += 1
            raise RefusedError(f"worker {header.worker}: {error}") from error
        for name, value in zip(MEASURED, header.sums, strict=True):
            self.measured[name] += value
        run.leases.pushed(header.worker)
        self._busy.discard(header.worker)
        self.pushes[header.worker] += 1
        return Reply(Kind.APPLIED, json_body(None), *self.counted)

    def _lease(self, run: Run, worker: int) -> Reply:
        try:
            lease = None if self.stopping else run.leases.lease(worker)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        if lease is not None:
            self._busy.add(worker)
        # What others have may come back, should they be lost
        wait = lease is None and not self.stopping and bool(self._busy - {worker})
        offer = {"lease": None if lease is None else astuple(lease), "wait": wait, "stop": self.stopping}
        return Reply(Kind.LEASED, json_body(offer), *self.counted)

    def _state(self, run: Run) -> np.ndarray:
        center = run.center.state_dict()
        values = {"center": dict(center.values), "leases": run.leases.state(), "measured": self.measured}
        return packed_tensors(values, center.shared)

    def _status(self) -> dict[str, Any]:
        status = {
            "ranks": sorted(self.ranks), "here": sorted(self.here), "gone": sorted(self.gone),
            "stopping": self.stopping, "refused": self.refused,
            "queue": sorted(self.queue.items()), "measured": self.measured,
        }  # fmt: skip
        status["version"], status["frames"] = self.counted
        if self.run is not None:
            status["pushes"] = [self.pushes[worker] for worker in range(self.run.workers)]
            status["staleness"] = sorted(self.run.center.staleness.items())
            status["unread"] = self.run.leases.unread
        return status


def packed_tensors(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> np.ndarray:
    """Return JSON values and tensors as one body, in the format of safetensors."""
    octets = torch.from_numpy(json_body(described).copy())
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return as_body(save({**plain, "described": octets}))


def unpacked_tensors(body: np.ndarray) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what packed_tensors was given; SafetensorError, KeyError or ProtocolError when it is something else."""
    tensors = load(body.tobytes())
    return json_value(tensors.pop("described").numpy()), tensors


def log_refusal(who: object, reason: object) -> None:
    """Log that something was refused, and not applied."""
    logger.warning("refused: %s: %s", who, reason)
