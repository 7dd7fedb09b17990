"""A worker's actions: fetch, push and step. Which comes next: life.py."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.asynchronous.port import CenterPort
from asr_parallel.record.log import logger


class Replica(Protocol):
    """The model of one worker and its optimiser."""

    @property
    def params(self) -> Tensor:
        """(P,) the parameters; after writing to them, `params_changed` is called."""

    def params_changed(self) -> None:
        """Take note that `params` was written to."""

    def leave_lookahead(self) -> None:
        """Put parameters where models are compared."""

    def enter_lookahead(self) -> None:
        """Put parameters where gradients are taken."""

    def forget(self) -> None:
        """Start the optimiser anew."""


class Worker:
    """One worker: its vectors, what it has fetched, and what it has not pushed yet.

    kept (P,): see AsyncAlgorithm.
    version, center_frames: of the model that was fetched last.
    frames: trained on since the last push. restarts: how often a model that was not finite was given up.
    """

    def __init__(self, number: int, rule: AsyncAlgorithm, replica: Replica, port: CenterPort) -> None:
        self.number, self.kept = number, torch.zeros_like(replica.params)
        self.version = self.center_frames = self.frames = self.restarts = 0
        self._rule, self._replica, self._port = rule, replica, port
        self._joined = self._exchanged = False  # whether it has a model; whether no step has followed the exchange
        self._bad = False  # whether its model was not finite

    @property
    def schedule_frames(self) -> int:
        """Frames by which the learning rate goes: those at the center when it was fetched, and the worker's own since.

        No worker knows what the others have trained on meanwhile.
        """
        return self.center_frames + self.frames

    def fetch(self) -> None:
        """Fetch the center's model and act on it."""
        params, version, frames = self._port.fetch(self.number)
        own, replica = self._replica.params, self._replica
        replica.leave_lookahead()
        if self._joined and not self._bad:
            self._rule.fetched(own, self.kept, params, alone=version == self.version + 1)
            self._bad = not bool(self.kept.sum().isfinite())
        if not self._joined or self._bad:
            if self._bad:
                self.restarts += 1
                logger.warning("worker %d: its model is not finite; it goes on from the center's", self.number)
                replica.forget()
            self._rule.join(own, self.kept, params)
        replica.enter_lookahead()
        replica.params_changed()
        self._joined, self._exchanged, self._bad = True, True, False
        self.version, self.center_frames = version, frames

    def push(self) -> None:
        """Send the center what the rule says, or zeros where that is not finite."""
        self._replica.leave_lookahead()
        message = self._rule.message(self._replica.params, self.kept)
        self._bad = not bool(message.sum().isfinite())
        self._port.push(self.number, torch.zeros_like(message) if self._bad else message, self.version, self.frames)
        self._replica.enter_lookahead()
        self.center_frames, self.frames = self.center_frames + self.frames, 0

    def step(self, train: Callable[[int], int]) -> None:
        """Train on a minibatch.

        Args:
            train: update the replica's parameters, given the frames by which the learning rate goes; return the frames
                that it has trained on.
        """
        self.frames += train(self.schedule_frames)
        if self._exchanged and self._rule.stepped(self._replica.params, self.kept):
            self._replica.params_changed()
        self._exchanged = False

    def settle(self) -> None:
        """Push what rounding has kept from the center, where nobody but this worker has pushed since it fetched last.

        A lone worker's training so ends with exactly its model at the center.
        """
        self._replica.leave_lookahead()
        while True:
            params, version, _ = self._port.fetch(self.number)
            rest = self._rule.left_over(self._replica.params, params) if version == self.version else None
            if rest is None:
                break
            self._port.push(self.number, rest, version, 0)
            self.version = version + 1
        self._replica.enter_lookahead()

    def state(self) -> dict[str, Any]:
        """Return JSON values for `load`, beside the vectors."""
        return {
            "version": self.version, "center_frames": self.center_frames, "frames": self.frames,
            "restarts": self.restarts, "joined": self._joined, "exchanged": self._exchanged, "bad": self._bad,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; `kept` and the parameters are put back by the caller."""
        self.version, self.center_frames = state["version"], state["center_frames"]
        self.frames, self.restarts = state["frames"], state["restarts"]
        self._joined, self._exchanged, self._bad = state["joined"], state["exchanged"], state["bad"]
