"""The minibatches of a training whose number of workers grows: who trains on which one, and when."""

import numpy as np

from asr_parallel.parallel.worker_ramp import WorkerRamp


class RampPlan:
    """Every minibatch of every share once an epoch, by as many workers at a time as the ramp says.

    The minibatches of an epoch come in a fixed order: the first one of each share, then the second ones. In each turn
    the first m workers take the next m of them, as Kaldi's jobs take the next archives, whosever share they are of. So
    what is trained on in an epoch is the same as without a ramp. The last turn of an epoch takes what is left.

    All follows from the counts and the number of epochs: neither processes nor interruptions matter.
    """

    def __init__(self, counts: np.ndarray, ramp: WorkerRamp, epochs: int) -> None:
        """Lay down all turns.

        Args:
            counts: (K,) minibatches of each share in an epoch.
            epochs: of the training.
        """
        self.workers = len(counts)
        # Places in the order of an epoch -> rows of the shares' minibatches one after the other
        index, share = np.nonzero(np.arange(counts.max())[:, None] < counts)
        self._rows = np.concatenate([[0], np.cumsum(counts)[:-1]])[share] + index
        self._ramp, self._turns = ramp, ramp.turns(epochs * len(self._rows))
        self._widths: list[np.ndarray] = []  # of each epoch, workers that train in each turn
        self._first_turns = [0]
        for _ in range(epochs):
            widths, left = list[int](), len(self._rows)
            while left:
                widths.append(min(left, self.working(self._first_turns[-1] + len(widths))))
                left -= widths[-1]
            self._widths.append(np.array(widths))
            self._first_turns.append(self._first_turns[-1] + len(widths))
        self._most = np.maximum.accumulate(np.concatenate(self._widths))  # workers that have trained by then

    def working(self, turn: int) -> int:
        """Return the workers that train in a turn of the training, were it not the last of an epoch."""
        return self._ramp.at(turn, self._turns)

    def first_turn(self, epoch: int) -> int:
        """Return the turns before an epoch; of the number of epochs, those of the whole training."""
        return self._first_turns[epoch]

    def widths(self, epoch: int) -> np.ndarray:
        """Return (turns of the epoch,) how many workers train in each."""
        return self._widths[epoch]

    def beginning(self, epoch: int, k: int) -> range:
        """Return the workers that train in turn k of an epoch for the first time; none in the first turn of all."""
        turn, width = self._first_turns[epoch] + k, int(self._widths[epoch][k])
        before = int(self._most[turn - 1]) if turn else width
        return range(before, width)

    def minibatches(self, epoch: int, worker: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the turns of an epoch in which a worker trains, and on which minibatches, of all shares in a row."""
        widths = self._widths[epoch]
        places = np.cumsum(widths) - widths + worker
        turns = np.flatnonzero(widths > worker)
        return turns, self._rows[places[turns]]
