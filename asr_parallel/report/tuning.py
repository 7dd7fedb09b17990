"""The tuning of a comparison: all trials of every contestant, and the values that were chosen."""

import csv
from dataclasses import dataclass
from io import StringIO
from statistics import median

Value = int | float | str


@dataclass(frozen=True)
class Trial:
    """A trial. values: of the options that are tuned. loss: on held-out data, nats a frame; None: it diverged."""

    values: dict[str, Value]
    loss: float | None


@dataclass(frozen=True)
class Contestant:
    """An algorithm, a number of workers and an optimizer that were tuned together.

    Attributes:
        name: of its trainings, without their seeds.
        trials: in the order in which they were drawn.
        best: the place of the best one among them.
        at_edge: options whose best value is the smallest or largest that was tried, so that a better one may lie
            outside of the space.
    """

    name: str
    trials: tuple[Trial, ...]
    best: int
    at_edge: tuple[str, ...] = ()

    @property
    def row(self) -> list[str]:
        """The line of a table: name, chosen values, best loss, median loss, trials and diverged ones, edges."""
        losses = [trial.loss for trial in self.trials if trial.loss is not None]
        diverged = len(self.trials) - len(losses)
        count = f"{len(self.trials)}" + (f", {diverged} diverged" if diverged else "")
        chosen = self.trials[self.best]
        of_all = _loss(median(losses) if losses else None)
        return [self.name, _text(chosen.values), _loss(chosen.loss), of_all, count, ", ".join(self.at_edge)]


HEADS = ["contestant", "chosen", "its held-out loss", "median of the trials", "trials", "at the edge of those tried"]


@dataclass(frozen=True)
class Tuning:
    """A tuning.

    budget: epochs of a trial over those of a training. seed: of all trials. space: ranges by option, as text.
    """

    budget: float
    seed: int
    space: dict[str, str]
    contestants: tuple[Contestant, ...]

    @property
    def text(self) -> str:
        """The way it was tuned, in a sentence."""
        space = "; ".join(f"{name} {of}" for name, of in self.space.items())
        most = max(len(one.trials) for one in self.contestants)
        return (
            f"At most {most} quasi-random trials (scrambled Sobol') for every contestant, of {self.budget:g} times the"
            f" epochs, all with seed {self.seed}, chosen by held-out loss. Space: {space}."
        )


def trials_csv(tuning: Tuning) -> str:
    """Return a line for every trial: contestant, number, held-out loss, whether it is the best, values by option."""
    names = sorted({name for one in tuning.contestants for trial in one.trials for name in trial.values})
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["contestant", "trial", "held_out_loss", "chosen", *names])
    for one in tuning.contestants:
        for n, trial in enumerate(one.trials):
            loss = "diverged" if trial.loss is None else repr(trial.loss)
            values = [trial.values.get(name, "") for name in names]
            writer.writerow([one.name, n, loss, "yes" if n == one.best else "", *values])
    return out.getvalue()


def _text(values: dict[str, Value]) -> str:
    shown = {name: f"{value:g}" if isinstance(value, float) else f"{value}" for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _loss(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.4f}"
