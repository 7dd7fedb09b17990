"""Checkpoints that no number of frames asks for: before a stop, and now and then by the clock."""

import time

import torch

from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import Transport
from asr_parallel.record.interrupt import Interrupted, StopRequest

CHECKPOINT_SECONDS = 600.0  # at most so much is trained again after a crash, where many frames take longer
AGREE_MINIBATCHES = 16  # of a worker: as many as lie between two synchronizations (parallel/algorithms/average.py)
SAVE = 1  # below any signal's number plus SAVE


class StopPoints:
    """Decides, for all processes alike, after which minibatches a checkpoint is due and whether it is the last.

    The processes agree about every AGREE_MINIBATCHES minibatches, at a meeting if they meet as often, where they wait
    for each other anyway. It costs the largest of one number. With overlap they agree just before, when the mean that
    is under way has to come anyway. The network does not depend on it.
    """

    def __init__(self, request: StopRequest, transport: Transport, rounds: SyncScheduler, device: torch.device) -> None:
        self._request, self._transport, self._device = request, transport, device
        self._rounds = rounds
        period = rounds.algorithm.period
        self._period = period if rounds.synchronizes and period is not None and period <= AGREE_MINIBATCHES else None
        self._saved = time.monotonic()
        self._number = 0

    def due(self, minibatch: int, met: bool) -> bool:
        """Return whether to write a checkpoint now. Called by all processes alike, after every minibatch.

        Args:
            minibatch: how many each worker has had.
            met: whether the workers have just met.
        """
        code = SAVE + self._request.number if self._request.number else 0
        if not code and self._transport.rank == 0 and time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            code = SAVE
        if self._transport.size > 1:
            if not self._agree_after(minibatch, met):
                return False
            largest = torch.tensor([code], dtype=torch.int32, device=self._device)
            self._transport.all_reduce_max(largest)
            code = int(largest)
        if code:
            self._saved = time.monotonic()
        self._number = max(0, code - SAVE)
        return code > 0

    def _agree_after(self, minibatch: int, met: bool) -> bool:
        if self._period is None:
            return minibatch % AGREE_MINIBATCHES == 0
        here = self._rounds.sync_due if self._rounds.options.overlap else met
        return here and minibatch % AGREE_MINIBATCHES < self._period

    def stop(self) -> None:
        """Raise Interrupted when the checkpoint that was due is the last."""
        if self._number:
            raise Interrupted(self._number)
