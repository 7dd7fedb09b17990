"""Checkpoints that no number of frames asks for: before a stop, and now and then by the clock."""

import time

import torch

from asr_parallel.parallel.rounds import Rounds
from asr_parallel.parallel.transport import Transport
from asr_parallel.record.interrupt import Interrupted, StopRequest

CHECKPOINT_SECONDS = 600.0  # at most so much is trained again after a crash, where many frames take longer
AGREE_MINIBATCHES = 16  # of a worker: as many as lie between two synchronizations (parallel/average.py)
SAVE = 1  # below any signal's number plus SAVE


class StopPoints:
    """Decides, for all processes alike, after which minibatches a checkpoint is due and whether it is the last.

    The processes agree where they wait for each other anyway, which costs a sum of one number, and every
    AGREE_MINIBATCHES minibatches if they seldom do. The network does not depend on it.
    """

    def __init__(self, request: StopRequest, transport: Transport, rounds: Rounds, device: torch.device) -> None:
        self._request, self._transport, self._device = request, transport, device
        period = rounds.algorithm.period
        self._with_meetings = rounds.meet and period is not None and period <= AGREE_MINIBATCHES
        self._saved = time.monotonic()
        self._number = 0

    def due(self, minibatch: int, met: bool) -> bool:
        """Whether to write a checkpoint now. Called by all processes alike, after every minibatch.

        Args:
            minibatch: how many each worker has had.
            met: whether the workers have just met.
        """
        code = SAVE + self._request.number if self._request.number else 0
        if not code and self._transport.rank == 0 and time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            code = SAVE
        if self._transport.size > 1:
            if not (met if self._with_meetings else minibatch % AGREE_MINIBATCHES == 0):
                return False
            largest = torch.tensor([code], dtype=torch.int32, device=self._device)
            self._transport.largest(largest)
            code = int(largest)
        if code:
            self._saved = time.monotonic()
        self._number = max(0, code - SAVE)
        return code > 0

    def stop(self) -> None:
        """Raise Interrupted when the checkpoint that was due is the last."""
        if self._number:
            raise Interrupted(self._number)
