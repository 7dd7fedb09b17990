"""The "newbob" schedule: hold the learning rate, then halve it, then stop, by the loss on held-out data."""

from dataclasses import dataclass

# Kaldi steps/nnet/train_scheduler.sh
START_HALVING = 0.01  # relative improvement under which halving starts
END_HALVING = 0.001  # relative improvement under which, once halving, training stops
HALVING_FACTOR = 0.5


@dataclass
class Newbob:
    """State of the schedule.

    best_loss: the held-out loss to improve on, at first the untrained network's.
    keep_epochs: so many first epochs are accepted whatever they bring, at the full learning rate.
    halve_from: after this epoch halving starts at the latest. For data whose held-out part is too like the rest to
        tell when to: the same few speakers.
    """

    learning_rate: float
    best_loss: float
    keep_epochs: int = 0
    halve_from: int | None = None
    halving: bool = False
    finished: bool = False
    epoch: int = 0

    def step(self, loss: float) -> bool:
        """Take in the held-out loss after an epoch; move learning_rate, halving and finished on.

        Returns:
            Whether the epoch's model is accepted; a rejected one is to be replaced by the best so far.
        """
        self.epoch += 1
        keep = self.epoch <= self.keep_epochs
        accepted = keep or loss < self.best_loss  # a loss that is not a number is never better
        before = self.best_loss
        if accepted:
            self.best_loss = loss
        if keep:
            return True
        improvement = (before - self.best_loss) / before if before else 0.0
        if self.halving and improvement < END_HALVING:
            self.finished = True
        due = self.halve_from is not None and self.epoch >= self.halve_from
        self.halving = self.halving or improvement < START_HALVING or due
        if self.halving:
            self.learning_rate *= HALVING_FACTOR
        return accepted
