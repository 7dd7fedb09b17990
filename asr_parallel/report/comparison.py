"""The results of a comparison of algorithms, numbers of workers and seeds, from which the report is made.

Two clocks are kept apart: "measured" is wall time of the run itself, "modelled" comes from the clock model. Speedups,
efficiency and peak speedup are modelled. Unknown values are None.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.from_json import from_json
from asr_parallel.report.published import Published
from asr_parallel.report.tuning import Tuning

LEAST_SEEDS = 5  # of a target: MLCommons AlgoPerf, scoring
MARGIN = 2.0  # per cent of a WER; ours: reruns in Kaldi's egs/swbd/s5c/RESULTS are 0.1 apart at 13
Plain = str | int | float | bool | None
Status = Literal["done", "failed", "diverged", "missing"]


@dataclass(frozen=True)
class Evaluation:
    """The model on held-out data at one point of a training.

    Attributes:
        frames: trained on so far, over all workers.
        loss: mean cross-entropy, nats a frame; None where it is not finite.
        accuracy: share of frames, between 0 and 1.
        measured_seconds, modelled_seconds: since the start of the training.
    """

    frames: int
    loss: float | None = None
    accuracy: float | None = None
    measured_seconds: float | None = None
    modelled_seconds: float | None = None


@dataclass(frozen=True)
class WordErrors:
    """Word errors on one set.

    Attributes:
        wer: per cent.
        low, high: 95 % confidence interval of wer by bootstrap over speakers, per cent.
        p_value: of the matched-pairs test (MAPSSWE) against the one-worker model with the same optimiser and seed; it
            compares these two decodes and says nothing of other seeds.
        per_speaker: (errors, words) by speaker.
        scorer: the scoring program and its rules.
    """

    words: int
    wer: float
    substitutions: int
    deletions: int
    insertions: int
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    scorer: str = ""
    per_speaker: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Errors of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    def __post_init__(self) -> None:
        if self.words < 1 or min(self.wer, self.substitutions, self.deletions, self.insertions) < 0:
            raise ValueError(f"{self.errors} errors in {self.words} words, WER {self.wer}: expected none below 0")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"confidence interval {self.low} to {self.high}: expected low <= high")
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise ValueError(f"p value {self.p_value}: expected between 0 and 1")
        if any(len(counts) != 2 for counts in self.per_speaker.values()):
            raise ValueError("per_speaker: expected (errors, words) for each speaker")


@dataclass(frozen=True)
class ModelledTime:
    """Time of a training on the modelled machines in seconds, and its parts: compute, wait, exchange, label."""

    seconds: float | None = None
    compute: float | None = None
    wait: float | None = None
    exchange: float | None = None
    label: float | None = None


@dataclass(frozen=True)
class MeasuredTime(ModelledTime):
    """Wall time of a training in seconds, its parts, and everything else as `other`."""

    other: float | None = None


@dataclass(frozen=True)
class Cell:
    """A training and its results.

    Attributes:
        name: unique in the comparison.
        period: minibatches of a worker between two exchanges, the least where they grow.
        periods: the shortest and the longest as planned, where they grow as the learning rate falls; empty else.
        label: name of a variant of the algorithm ("random start"); "" for none.
        status: "missing" where it was not run, or not to its end; "diverged" where its loss was far above the untrained
            network's. A cell that is not "done" has no figures.
        error: the last line of its log, where it failed or diverged.
        command: commands that make this cell again, joined by &&; folder: where its files are.
        budget: its epochs over those of its contestant in the file, for trainings of several lengths.
        frames: trained on, over all workers.
        wer: by set.
        other_seconds: modelled, on the comparison's other network.
        speedup_frames: time of one worker over this one's, for the same frames.
        speedup_loss: the same until the one-worker model's held-out loss is reached; 0 where it never was; None where
            it is not known.
        efficiency: speedup_frames / workers.
        peak_speedup: the largest over parts of the training, where speedup_frames is the average over all of it.
        bytes_per_worker: sent by one worker, on average.
        syncs: synchronizations, or pushes of a worker on average; minibatches where gradients are summed; None for a
            plain single worker.
        cut_share: of the length of a step, between 0 and 1, that the limits on changes have cut away; mean over the
            training.
        warnings: reasons why the algorithm may not have done what it can, a clause each.
        staleness, most_staleness: pushes of others between a worker's fetch and its push, mean and most; None where
            workers are synchronous.
        queue_length: requests that a request found before it at the center's port, mean.
        options: of train-dnn, by name, that are not common to all trainings.
        moved: of a single worker, whether its algorithm moves it, so that it is no baseline of others.
    """

    name: str
    algorithm: str
    workers: int
    optimizer: str
    seed: int
    status: Status
    period: int | None = None
    label: str = ""
    error: str = ""
    command: str = ""
    folder: str = ""
    budget: float = 1.0
    frames: int | None = None
    learning_curve: tuple[Evaluation, ...] = ()
    wer: dict[str, WordErrors] = field(default_factory=dict)
    measured: MeasuredTime | None = None
    modelled: ModelledTime | None = None
    other_seconds: float | None = None
    speedup_frames: float | None = None
    speedup_loss: float | None = None
    efficiency: float | None = None
    peak_speedup: float | None = None
    bytes_per_worker: int | None = None
    syncs: float | None = None
    cut_share: float | None = None
    warnings: tuple[str, ...] = ()
    staleness: float | None = None
    most_staleness: int | None = None
    queue_length: float | None = None
    options: dict[str, Plain] = field(default_factory=dict)
    moved: bool = False
    periods: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True for a single worker that no algorithm moves, with which others are compared."""
        return self.workers == 1 and not self.moved

    @property
    def frames_per_worker(self) -> float | None:
        """Frames that one worker has trained on, mean over workers."""
        return None if self.frames is None else self.frames / self.workers

    @property
    def held_out_loss(self) -> float | None:
        """Held-out loss at the end of the training, nats a frame."""
        return self.learning_curve[-1].loss if self.learning_curve else None

    @property
    def command_lines(self) -> list[str]:
        """The command, one line for each of its parts; empty where there is none."""
        *others, last = self.command.split(" && ")
        return [*(f"{one} &&" for one in others), last] if self.command else []

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a cell without a name")
        if self.workers < 1:
            raise ValueError(f"cell {self.name!r}: {self.workers} workers: expected at least 1")
        if self.status not in get_args(Status):
            known = ", ".join(get_args(Status))
            raise ValueError(f"cell {self.name!r}: status {self.status!r}: expected one of {known}")
        for what in ("speedup_frames", "speedup_loss", "efficiency", "peak_speedup"):
            value = getattr(self, what)
            never = what == "speedup_loss" and value == 0
            if value is not None and not never and not value > 0:
                raise ValueError(f"cell {self.name!r}: {what} {value}: expected above 0")
        if any(after.frames < before.frames for before, after in pairwise(self.learning_curve)):
            raise ValueError(f"cell {self.name!r}: expected a learning_curve in the order of frames")


@dataclass(frozen=True)
class ClockInputs:
    """The inputs of the clock model that modelled seconds come from.

    Attributes:
        network: its name; alpha: latency of a message in seconds; beta: bandwidth in bytes a second.
        step_seconds: of one minibatch on one worker; how: the way it was measured, and other assumptions.
    """

    network: str
    alpha: float | None = None
    beta: float | None = None
    step_seconds: float | None = None
    how: str = ""


@dataclass(frozen=True)
class Target:
    """The request for speedups to what the single worker comes to.

    seeds: at least so many of every contestant.
    """

    seeds: int = LEAST_SEEDS


@dataclass(frozen=True)
class Comparison:
    """A whole comparison.

    Attributes:
        created: date and time, for display.
        synthetic: whether the speech is synthetic; every figure, table and caption then says so.
        hardware, versions: for display, by name.
        commands: that make the whole comparison.
        options: of train-dnn, by name, that all trainings have in common.
        other_network: the one of `other_seconds`; "": none.
        target: to which speedups are reported (target.py); None: to none.
        tuning: the way their other options were chosen; None: they were given.
        margin: the largest difference in WER that does not matter, in per cent of the single worker's WER.
        sets: that were decoded, in the order of the report, whose first is that of figures and differences; empty in
            files of older versions: eval, dev.
    """

    title: str
    corpus: str
    created: str
    cells: tuple[Cell, ...]
    scorer: str = ""
    synthetic: bool = False
    hardware: dict[str, Plain] = field(default_factory=dict)
    versions: dict[str, Plain] = field(default_factory=dict)
    clock: ClockInputs | None = None
    commands: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    options: dict[str, Plain] = field(default_factory=dict)
    tuning: Tuning | None = None
    target: Target | None = None
    other_network: str = ""
    margin: float = MARGIN
    sets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("a comparison without cells")
        if not self.margin > 0:
            raise ValueError(f"margin {self.margin}: expected above 0 per cent")
        name, times = Counter(cell.name for cell in self.cells).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} cells are called {name!r}: expected a name for each")

    @classmethod
    def open(cls, path: Path) -> "Comparison":
        """Read the file that save() wrote; ValueError with one line that says what does not fit."""
        comparison: Comparison = from_json(cls, read_json(path), str(path))
        return comparison

    def checked(self) -> "Comparison":
        """Return the same comparison; ValueError where a value has the wrong type."""
        comparison: Comparison = from_json(Comparison, asdict(self), "comparison")
        return comparison

    def save(self, path: Path) -> None:
        """Write the comparison as JSON, whole or not at all."""
        write_json(path, asdict(self.checked()))
