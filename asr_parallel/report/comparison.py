"""What a comparison of algorithms x numbers of workers x seeds found: one value, from which the report is made.

Two clocks are kept apart: what is called measured is wall time of the very run, what is called modelled comes from the
clock model. Speedups, efficiency and peak speedup are modelled. Whatever is not known is None.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.from_json import from_json
from asr_parallel.report.published import Published

Plain = str | int | float | bool | None
Status = Literal["done", "failed", "diverged", "missing"]


@dataclass(frozen=True)
class Evaluation:
    """The model on held-out data in the course of a training.

    Attributes:
        frames: trained on until then, over all workers.
        loss: mean cross-entropy, nats a frame; None where it is not finite.
        accuracy: share of frames, between 0 and 1.
        measured_seconds, modelled_seconds: since the training began.
    """

    frames: int
    loss: float | None = None
    accuracy: float | None = None
    measured_seconds: float | None = None
    modelled_seconds: float | None = None


@dataclass(frozen=True)
class WordErrors:
    """Of one set.

    Attributes:
        wer: per cent.
        low, high: 95 % confidence interval of wer by bootstrap over speakers, per cent.
        p_value: of the matched-pairs test (MAPSSWE) against the one-worker model with the same optimiser and seed; it
            is of these two decodes and knows nothing of other seeds.
        per_speaker: (errors, words) by speaker.
        scorer: who counted, and by which rules.
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
        """Of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    def __post_init__(self) -> None:
        if self.words < 1 or min(self.wer, self.substitutions, self.deletions, self.insertions) < 0:
            raise ValueError(f"{self.errors} errors in {self.words} words, WER {self.wer}: expected none below 0")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"confidence interval {self.low} to {self.high}: expected low <= high")
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise ValueError(f"p value {self.p_value}: expected between 0 and 1")
        if any(len(counts) != 2 for counts in self.per_speaker.values()):
            raise ValueError("per_speaker: expected errors and words of each")


@dataclass(frozen=True)
class MeasuredTime:
    """Wall time of a training in seconds and its parts: computing, waiting, exchanging, labelling, all else."""

    seconds: float | None = None
    compute: float | None = None
    wait: float | None = None
    exchange: float | None = None
    label: float | None = None
    other: float | None = None


@dataclass(frozen=True)
class ModelledTime:
    """Time of a training on the modelled machines in seconds, and its parts as in MeasuredTime."""

    seconds: float | None = None
    compute: float | None = None
    wait: float | None = None
    exchange: float | None = None
    label: float | None = None


@dataclass(frozen=True)
class Cell:
    """One training, and what came of it.

    Attributes:
        name: unique in the comparison.
        period: minibatches of a worker between two exchanges.
        label: what sets it apart from others of the same algorithm ("random start"); "" for nothing.
        status: "missing" where it was not run, or not to its end; "diverged" where its loss was far above the untrained
            network's. What is not "done" has no figures.
        error: the last line of its log, where it failed or diverged.
        command: commands that make this cell again, joined by &&; folder: where it lies.
        frames: trained on, over all workers.
        wer: by set, "dev" and "eval".
        speedup_frames: time of one worker over this one's, for the same frames.
        speedup_loss: the same until the one-worker model's held-out loss is reached; 0 where it never was, which takes
            for ever; None where it is not known.
        efficiency: speedup_frames / workers.
        peak_speedup: the largest over parts of the training, where speedup_frames is the average over all of it.
        bytes_per_worker: that the algorithm has one worker send, on average.
        options: of train-dnn, by name, that not all trainings of the comparison have in common.
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
    frames: int | None = None
    learning_curve: tuple[Evaluation, ...] = ()
    wer: dict[str, WordErrors] = field(default_factory=dict)
    measured: MeasuredTime | None = None
    modelled: ModelledTime | None = None
    speedup_frames: float | None = None
    speedup_loss: float | None = None
    efficiency: float | None = None
    peak_speedup: float | None = None
    bytes_per_worker: int | None = None
    options: dict[str, Plain] = field(default_factory=dict)

    @property
    def command_lines(self) -> list[str]:
        """The command, a line for each of those it is joined of; empty where there is none."""
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
class Clock:
    """The model that modelled seconds come from.

    Attributes:
        network: its name; alpha: seconds a message takes at least; beta: bytes a second.
        step_seconds: of one minibatch on one worker; how: it was measured, and anything else that is assumed.
    """

    network: str
    alpha: float | None = None
    beta: float | None = None
    step_seconds: float | None = None
    how: str = ""


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        created: date and time, as it is to be shown.
        synthetic: whether the speech is, which is then said in every figure, table and caption.
        hardware, versions: as they are to be shown, by name.
        commands: that make the whole.
        options: of train-dnn, by name, that all trainings have in common.
    """

    title: str
    corpus: str
    created: str
    cells: tuple[Cell, ...]
    scorer: str = ""
    synthetic: bool = False
    hardware: dict[str, Plain] = field(default_factory=dict)
    versions: dict[str, Plain] = field(default_factory=dict)
    clock: Clock | None = None
    commands: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    options: dict[str, Plain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("a comparison without cells")
        name, times = Counter(cell.name for cell in self.cells).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} cells are called {name!r}: expected a name for each")

    @classmethod
    def open(cls, path: Path) -> "Comparison":
        """Read what save() wrote; ValueError with one line that says what does not fit."""
        comparison: Comparison = from_json(cls, read_json(path), str(path))
        return comparison

    def checked(self) -> "Comparison":
        """Itself, with every value of the kind that it must be; ValueError where one is not."""
        comparison: Comparison = from_json(Comparison, asdict(self), "comparison")
        return comparison

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, asdict(self.checked()))
