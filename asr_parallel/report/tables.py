"""The columns of a comparison's tables, and the tables as CSV.

No two columns share a name, and what a clock says has that clock's name in its own: measured_seconds, modelled_seconds.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

from asr_parallel.report.comparison import Cell, Comparison, WordErrors
from asr_parallel.report.frontier import Group, Mean, baseline, frontier, scorers, sets, summarise

Value = str | int | float | None
PARTS = ("compute", "wait", "exchange", "label", "other")
LOSS = "#.5g"  # four digits behind the point, and none too many of one that diverged


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: in a file; title: for readers; form: of numbers for readers, as format() takes it.
        value: of a cell or a group, None where it is not known.
        clock: whose word it is, if it is one's.
    """

    name: str
    title: str
    value: Callable[[Any], Value]
    form: str = ""
    clock: Literal["", "measured", "modelled"] = ""

    def show(self, row: Cell | Group, unknown: str = "") -> str:
        """The value as text for readers."""
        value = self.value(row)
        if value is None:
            return unknown
        return str(value) if isinstance(value, str) or not self.form else format(value, self.form)


def identity_columns() -> list[Column]:
    """What a cell is, and whether it is done."""
    return [
        Column("cell", "cell", lambda c: c.name),
        Column("algorithm", "algorithm", lambda c: c.algorithm),
        Column("workers", "K", lambda c: c.workers),
        Column("optimizer", "optimiser", lambda c: c.optimizer),
        Column("period", "period", lambda c: c.period),
        Column("label", "variant", lambda c: c.label or None),
        Column("seed", "seed", lambda c: c.seed),
        Column("status", "status", lambda c: c.status),
    ]


def result_columns(comparison: Comparison) -> list[Column]:
    """What came of a cell: frames, held-out data and word errors on every set."""
    columns = [
        Column("frames", "frames", lambda c: c.frames, ",d"),
        Column("held_out_loss", "held-out loss", held_out_loss, LOSS),
        Column("held_out_accuracy", "held-out accuracy %", _accuracy, ".2f"),
    ]
    for name in sets(comparison):
        columns += [
            Column(f"{name}_wer", f"{name} WER %", _error(name, "wer"), ".2f"),
            Column(f"{name}_wer_low", f"{name} 95 % low", _error(name, "low"), ".2f"),
            Column(f"{name}_wer_high", f"{name} 95 % high", _error(name, "high"), ".2f"),
            Column(f"{name}_p_value", f"{name} p", _error(name, "p_value"), ".2g"),
            Column(f"{name}_substitutions", f"{name} sub", _error(name, "substitutions")),
            Column(f"{name}_deletions", f"{name} del", _error(name, "deletions")),
            Column(f"{name}_insertions", f"{name} ins", _error(name, "insertions")),
            Column(f"{name}_words", f"{name} words", _error(name, "words")),
            Column(f"{name}_scorer", f"{name} scorer", _error(name, "scorer")),
        ]
    return columns


def time_columns() -> list[Column]:
    """Seconds by both clocks, speedups and bytes."""
    columns = [Column("measured_seconds", "measured s", _time("measured", "seconds"), ".1f", "measured")]
    columns += [
        Column(f"measured_{p}", f"measured {p} s", _time("measured", p), ".1f", "measured") for p in PARTS
    ]  # fmt: skip
    columns.append(Column("modelled_seconds", "modelled s", _time("modelled", "seconds"), ".1f", "modelled"))
    columns += [
        Column(f"modelled_{p}", f"modelled {p} s", _time("modelled", p), ".1f", "modelled") for p in PARTS[:-1]
    ]  # fmt: skip
    return [
        *columns,
        Column(
            "modelled_speedup_frames", "modelled speedup, same frames", lambda c: c.speedup_frames, ".2f", "modelled"
        ),
        Column("modelled_speedup_loss", "modelled speedup, same loss", _speedup_to_loss, ".2f", "modelled"),
        Column("modelled_efficiency", "modelled efficiency", lambda c: c.efficiency, ".2f", "modelled"),
        Column("modelled_peak_speedup", "modelled peak speedup", lambda c: c.peak_speedup, ".2f", "modelled"),
        Column("bytes_per_worker", "bytes sent by a worker", lambda c: c.bytes_per_worker, ",d"),
    ]


def origin_columns() -> list[Column]:
    """How a cell is made and why it failed."""
    return [
        Column("options", "options not in common", lambda c: options_text(c.options) or None),
        Column("error", "last log line", lambda c: c.error or None),
        Column("command", "command", lambda c: c.command or None),
        Column("folder", "folder", lambda c: c.folder or None),
    ]


def summary_columns(comparison: Comparison, groups: Sequence[Group]) -> list[Column]:
    """Return the columns of groups: means and deviations over seeds, and the median speedup to the same loss."""
    found = sets(comparison)
    columns = [
        Column("system", "system", lambda g: g.system),
        Column("workers", "K", lambda g: g.workers),
        Column("seeds", "seeds", seeds_text),
        Column("compared_with", "compared with", lambda g: b.name if (b := baseline(g, groups)) else None),
    ]
    for name in found:
        columns += [
            Column(f"{name}_wer_mean", f"{name} WER %", _mean(_group_wer(name)), ".2f"),
            Column(f"{name}_wer_deviation", f"{name} deviation", _deviation(_group_wer(name)), ".2f"),
            Column(f"{name}_wer_low", f"{name} 95 % low", _end(name, 0), ".2f"),
            Column(f"{name}_wer_high", f"{name} 95 % high", _end(name, 1), ".2f"),
            *(
                Column(f"{name}_difference{end}", f"{name} difference{title}", _difference(name, groups, n), "+.2f")
                for n, (end, title) in enumerate((("", ""), ("_low", ", 95 % low"), ("_high", ", 95 % high")))
            ),
            Column(f"{name}_p_least", f"{name} p, least", _p_value(name, min), ".2g"),
            Column(f"{name}_p_most", f"{name} p, most", _p_value(name, max), ".2g"),
            Column(f"{name}_words", f"{name} words", _words(name)),
        ]
    loss, to_loss = _of(held_out_loss), _group_speedup("speedup_loss")
    columns += [
        Column("scorer", "scorer", lambda g: scorers(comparison) if any(g.errors(name) for name in found) else None),
        Column("held_out_loss_mean", "held-out loss", _mean(loss), LOSS),
        Column("held_out_loss_deviation", "loss deviation", _deviation(loss), LOSS),
    ]
    columns += [
        Column(
            "modelled_speedup_frames_mean", "modelled speedup, same frames", _mean(_group_speedup("speedup_frames")),
            ".2f", "modelled",
        ),
        Column(
            "modelled_speedup_loss_median", "modelled speedup, same loss, median", _mean(to_loss), ".2f", "modelled"
        ),
        Column("loss_reached", "same loss reached", reached_text),
    ]  # fmt: skip
    efficiency, peak = _of(lambda c: c.efficiency), _of(lambda c: c.peak_speedup)
    measured, modelled = _of(_time("measured", "seconds")), _of(_time("modelled", "seconds"))
    on = {which: {g.first.name for g in frontier(groups, which, found[0])} if found else set() for which in _WHICH}
    return [
        *columns,
        Column("modelled_efficiency_mean", "modelled efficiency", _mean(efficiency), ".2f", "modelled"),
        Column("modelled_peak_speedup_mean", "modelled peak speedup", _mean(peak), ".2f", "modelled"),
        Column("modelled_seconds_mean", "modelled s", _mean(modelled), ".1f", "modelled"),
        Column("measured_seconds_mean", "measured s", _mean(measured), ".1f", "measured"),
        Column("bytes_per_worker_mean", "bytes sent by a worker", _mean(_of(lambda c: c.bytes_per_worker)), ",.0f"),
        Column("frontier", "frontier", lambda g: ", ".join(t for w, t in _WHICH.items() if g.first.name in on[w])),
    ]


def cells_csv(comparison: Comparison) -> str:
    """A line for each cell, with all that is known of it but its learning_curve."""
    columns = [*identity_columns(), *result_columns(comparison), *time_columns(), *origin_columns()]
    return _csv([*columns, _speech(comparison)], comparison.cells)


def summary_csv(comparison: Comparison) -> str:
    """A line for each group."""
    groups = summarise(comparison)
    return _csv([*summary_columns(comparison, groups), _speech(comparison)], groups)


def options_text(options: Mapping[str, Value]) -> str:
    """Options of train-dnn in a line."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def seeds_text(group: Group) -> str:
    """Return how many seeds are done, and what became of the others."""
    return f"{len(group.done)} of {len(group.cells)}" + (f" ({group.lost})" if group.lost else "")


def reached_text(group: Group) -> str | None:
    """Return how many seeds came to the one worker's held-out loss; None where that is not known of any."""
    count, of = group.reached
    return f"{count} of {of}" if of else None


def held_out_loss(cell: Cell) -> float | None:
    """At the end of the training."""
    return cell.learning_curve[-1].loss if cell.learning_curve else None


_WHICH: dict[Any, str] = {"speedup_frames": "same frames", "speedup_loss": "same loss"}


def _csv(columns: Sequence[Column], rows: Sequence[Cell] | Sequence[Group]) -> str:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    for row in rows:
        writer.writerow("" if (value := column.value(row)) is None else value for column in columns)
    return out.getvalue()


def _speech(comparison: Comparison) -> Column:
    """Whether it is synthetic, beside every line of a file."""
    return Column("speech", "speech", lambda _: "synthetic" if comparison.synthetic else None)


def _accuracy(cell: Cell) -> float | None:
    accuracy = cell.learning_curve[-1].accuracy if cell.learning_curve else None
    return None if accuracy is None else 100 * accuracy


def _error(name: str, what: str) -> Callable[[Cell], Value]:
    def value(cell: Cell) -> Value:
        errors: WordErrors | None = cell.wer.get(name)
        return None if errors is None else getattr(errors, what)

    return value


def _time(clock: str, part: str) -> Callable[[Cell], float | None]:
    return lambda cell: getattr(getattr(cell, clock), part, None)


def _of(value: Callable[[Cell], float | None]) -> Callable[[Group], Mean | None]:
    return lambda group: group.mean(value)


def _group_wer(name: str) -> Callable[[Group], Mean | None]:
    return lambda group: group.wer(name)


def _group_speedup(which: Any) -> Callable[[Group], Mean | None]:
    return lambda group: group.speedup(which)


def _mean(value: Callable[[Group], Mean | None]) -> Callable[[Group], float | None]:
    return lambda group: found.mean if (found := value(group)) else None


def _deviation(value: Callable[[Group], Mean | None]) -> Callable[[Group], float | None]:
    return lambda group: found.deviation if (found := value(group)) else None


def _difference(name: str, groups: Sequence[Group], which: int) -> Callable[[Group], float | None]:
    """From the one worker, and the ends of its interval."""

    def value(group: Group) -> float | None:
        base = baseline(group, groups)
        found = group.difference(base, name) if base else None
        return found[which] if found else None

    return value


def _speedup_to_loss(cell: Cell) -> Value:
    return "never" if cell.speedup_loss == 0 else cell.speedup_loss


def _p_value(name: str, which: Callable[[list[float]], float]) -> Callable[[Group], float | None]:
    def value(group: Group) -> float | None:
        known = [errors.p_value for errors in group.errors(name) if errors.p_value is not None]
        return which(known) if known else None

    return value


def _end(name: str, which: int) -> Callable[[Group], float | None]:
    return lambda group: found[which] if (found := group.interval(name)) else None


def _words(name: str) -> Callable[[Group], int | None]:
    return lambda group: errors[0].words if (errors := group.errors(name)) else None
