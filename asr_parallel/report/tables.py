"""Columns of a comparison's tables.

No two columns share a name. A column of a clock has that clock in its name: measured_seconds, modelled_seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.groups import Group, SeedMean, Speedup, baseline, frontier, scorers, sets

Value = str | int | float | None
PARTS = ("compute", "wait", "exchange", "label", "other")
LOSS = "#.5g"  # four digits after the point, and no more for a loss that diverged
FRONTIERS: dict[Speedup, str] = {"speedup_frames": "same frames", "speedup_loss": "same loss"}
# Of word errors: attribute, title, format
ERRORS = {
    "wer": ("WER %", ".2f"), "low": ("95 % low", ".2f"), "high": ("95 % high", ".2f"), "p_value": ("p", ".2g"),
    "substitutions": ("sub", ""), "deletions": ("del", ""), "insertions": ("ins", ""), "words": ("words", ""),
    "scorer": ("scorer", ""),
}  # fmt: skip
TEXTS = {"cell", "algorithm", "optimizer", "label", "status", "system", "seeds"}  # aligned to the left, as verdicts are


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in a file; title: for readers; format: of numbers for readers, as format() takes it.
        value: of a cell or a group, None where it is not known.
        clock: where the value comes from, for seconds and what follows from them.
    """

    name: str
    title: str
    value: Callable[[Any], Value]
    format: str = ""
    clock: Literal["", "measured", "modelled"] = ""

    def show(self, row: Cell | Group) -> str:
        """Return the value as text for readers."""
        value = self.value(row)
        return "" if value is None else value if isinstance(value, str) else format(value, self.format)

    def number(self, row: Cell | Group) -> str | None:
        """Return the exact value, None where it is not a number."""
        value = self.value(row)
        return str(value) if isinstance(value, int | float) else None

    @property
    def css(self) -> str | None:
        """The class of its cells on the page."""
        return self.clock or ("text" if self.name in TEXTS or self.name.endswith("_verdict") else None)


def identity_columns() -> list[Column]:
    """Return the columns that say which cell it is, and whether it is done."""
    return [
        Column("cell", "cell", lambda c: c.name),
        Column("algorithm", "algorithm", lambda c: c.algorithm),
        Column("workers", "K", lambda c: c.workers),
        Column("optimizer", "optimiser", lambda c: c.optimizer),
        Column("period", "period", _period),
        Column("label", "variant", lambda c: c.label or None),
        Column("seed", "seed", lambda c: c.seed),
        Column("status", "status", lambda c: c.status),
    ]


def result_columns(comparison: Comparison) -> list[Column]:
    """Return the columns of a cell's results: frames, held-out data and word errors on every set."""
    return [
        Column("frames", "frames", lambda c: c.frames, ",d"),
        Column("frames_per_worker", "frames a worker", lambda c: c.frames_per_worker, ",.0f"),
        Column("syncs", "synchronizations of a worker", lambda c: c.syncs, ",.5g"),
        Column("cut_share", "cut by limits %", lambda c: None if c.cut_share is None else 100 * c.cut_share, ".1f"),
        Column("held_out_loss", "held-out loss", lambda c: c.held_out_loss, LOSS),
        Column("held_out_accuracy", "held-out accuracy %", _accuracy, ".2f"),
        *(
            Column(_error_name(name, of), f"{name} {title}", _error(name, of), form)
            for name in sets(comparison)
            for of, (title, form) in ERRORS.items()
        ),
    ]


def time_columns(comparison: Comparison) -> list[Column]:
    """Return the columns of seconds on both clocks, speedups, bytes, and staleness where workers are asynchronous."""
    clocks: dict[Literal["measured", "modelled"], Sequence[str]] = {"measured": PARTS, "modelled": PARTS[:-1]}
    columns = [
        Column(f"{clock}_{part}", f"{clock} {title}", _seconds(clock, part), ".1f", clock)
        for clock, parts in clocks.items()
        for part, title in (("seconds", "s"), *((part, f"{part} s") for part in parts))
    ]
    return [
        *columns,
        _modelled("speedup_frames", "speedup, same frames", lambda c: c.speedup_frames),
        _modelled("speedup_loss", "speedup, same loss", lambda c: c.speedup_loss if c.speedup_loss != 0 else "never"),
        _modelled("efficiency", "efficiency", lambda c: c.efficiency),
        _modelled("peak_speedup", "peak speedup", lambda c: c.peak_speedup),
        Column("bytes_per_worker", "bytes sent by a worker", lambda c: c.bytes_per_worker, ",d"),
        *(asynchronous_columns() if has_asynchronous(comparison) else ()),
    ]


def has_asynchronous(comparison: Comparison) -> bool:
    """Return whether any cell's workers are asynchronous."""
    return any(cell.staleness is not None for cell in comparison.cells)


def asynchronous_columns() -> list[Column]:
    """Return the columns of cells whose workers are asynchronous."""
    return [
        Column("staleness", "staleness, mean", lambda c: c.staleness, ".2f"),
        Column("most_staleness", "staleness, most", lambda c: c.most_staleness),
        Column("queue_length", "queue length, mean", lambda c: c.queue_length, ".2f"),
    ]


def origin_columns() -> list[Column]:
    """Return the columns that say how a cell is made and why it failed."""
    return [
        Column("options", "options not in common", lambda c: options_text(c.options) or None),
        Column("warnings", "warnings", lambda c: "; ".join(c.warnings) or None),
        Column("error", "last log line", lambda c: c.error or None),
        Column("command", "command", lambda c: c.command or None),
        Column("folder", "folder", lambda c: c.folder or None),
    ]


def summary_columns(comparison: Comparison, groups: Sequence[Group]) -> list[Column]:
    """Return the columns of groups: means and deviations over seeds, and the median speedup to the same loss."""
    found = sets(comparison)
    best = {which: {g.first.name for name in found[:1] for g in frontier(groups, which, name)} for which in FRONTIERS}

    def mean(value: Callable[[Cell], float | None]) -> Callable[[Group], float | None]:
        return lambda group: _value(group.mean(value))

    return [
        Column("system", "system", lambda g: g.system),
        Column("workers", "K", lambda g: g.workers),
        Column("seeds", "seeds", seeds_text),
        Column("compared_with", "compared with", lambda g: b.name if (b := baseline(g, groups)) else None),
        *(column for name in found for column in _summary_of_set(name)),
        Column("scorer", "scorer", lambda g: scorers(comparison) if any(g.errors(name) for name in found) else None),
        Column("held_out_loss_mean", "held-out loss", mean(lambda c: c.held_out_loss), LOSS),
        Column(
            "held_out_loss_deviation", "loss deviation", lambda g: _deviation(g.mean(lambda c: c.held_out_loss)), LOSS
        ),
        _modelled("speedup_frames_mean", "speedup, same frames", lambda g: _value(g.speedup("speedup_frames"))),
        _modelled("speedup_loss_median", "speedup, same loss, median", lambda g: _value(g.speedup("speedup_loss"))),
        Column("loss_reached", "same loss reached", reached_text),
        _modelled("efficiency_mean", "efficiency", mean(lambda c: c.efficiency)),
        _modelled("peak_speedup_mean", "peak speedup", mean(lambda c: c.peak_speedup)),
        Column("modelled_seconds_mean", "modelled s", mean(_seconds("modelled", "seconds")), ".1f", "modelled"),
        Column("measured_seconds_mean", "measured s", mean(_seconds("measured", "seconds")), ".1f", "measured"),
        Column("bytes_per_worker_mean", "bytes sent by a worker", mean(lambda c: c.bytes_per_worker), ",.0f"),
        *(
            (
                Column("staleness_mean", "staleness", mean(lambda c: c.staleness), ".2f"),
                Column("queue_length_mean", "queue length", mean(lambda c: c.queue_length), ".2f"),
            )
            if has_asynchronous(comparison)
            else ()
        ),
        Column(
            "frontier", "frontier",
            lambda g: ", ".join(text for which, text in FRONTIERS.items() if g.first.name in best[which]),
        ),
    ]  # fmt: skip


def _summary_of_set(name: str) -> list[Column]:
    """Return the columns of one set: WER, its interval, p and words."""

    def end(place: int) -> Callable[[Group], float | None]:
        return lambda group: found[place] if (found := group.interval(name)) else None

    def p_value(choose: Callable[..., float | None]) -> Callable[[Group], float | None]:
        return lambda group: choose((e.p_value for e in group.errors(name) if e.p_value is not None), default=None)

    return [
        Column(f"{name}_wer_mean", f"{name} WER %", lambda g: _value(g.wer(name)), ".2f"),
        Column(f"{name}_wer_deviation", f"{name} deviation", lambda g: _deviation(g.wer(name)), ".2f"),
        Column(f"{name}_wer_low", f"{name} 95 % low", end(0), ".2f"),
        Column(f"{name}_wer_high", f"{name} 95 % high", end(1), ".2f"),
        Column(f"{name}_p_least", f"{name} p, least", p_value(min), ".2g"),
        Column(f"{name}_p_most", f"{name} p, most", p_value(max), ".2g"),
        Column(f"{name}_words", f"{name} words", lambda g: errors[0].words if (errors := g.errors(name)) else None),
    ]


def options_text(options: Mapping[str, Value]) -> str:
    """Return options of train-dnn in a line."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def seeds_text(group: Group) -> str:
    """Return how many seeds are done, and the status of the others."""
    return f"{len(group.done)} of {len(group.cells)}" + (f" ({group.lost})" if group.lost else "")


def warning_lines(groups: Sequence[Group]) -> list[str]:
    """Return a line for each group whose trainings have warnings, each warning once."""
    found = {group.name: dict.fromkeys(text for cell in group.done for text in cell.warnings) for group in groups}
    return [f"{name}: {'; '.join(texts)}" for name, texts in found.items() if texts]


def reached_text(group: Group) -> str | None:
    """Return how many seeds reached the one worker's held-out loss; None where that is not known of any."""
    count, of = group.reached
    return f"{count} of {of}" if of else None


def _period(cell: Cell) -> Value:
    """Return the minibatches between two synchronizations, of growing ones the least and the greatest number."""
    return " to ".join(map(str, dict.fromkeys(cell.periods))) or cell.period


def _accuracy(cell: Cell) -> float | None:
    accuracy = cell.learning_curve[-1].accuracy if cell.learning_curve else None
    return None if accuracy is None else 100 * accuracy


def _error_name(name: str, of: str) -> str:
    return f"{name}_wer_{of}" if of in ("low", "high") else f"{name}_{of}"


def _error(name: str, of: str) -> Callable[[Cell], Value]:
    return lambda cell: getattr(cell.wer[name], of) if name in cell.wer else None


def _seconds(clock: str, part: str) -> Callable[[Cell], float | None]:
    return lambda cell: getattr(getattr(cell, clock), part, None)


def _modelled(name: str, title: str, value: Callable[[Any], Value]) -> Column:
    return Column(f"modelled_{name}", f"modelled {title}", value, ".2f", "modelled")


def _value(mean: SeedMean | None) -> float | None:
    return mean.value if mean else None


def _deviation(mean: SeedMean | None) -> float | None:
    return mean.deviation if mean else None
