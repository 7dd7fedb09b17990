"""Held-out loss during the trainings, against frames and against the two clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from asr_parallel.report.comparison import Cell
from asr_parallel.report.figures import (
    LEGEND_LINE,
    MEASURED,
    MODELLED,
    NEUTRAL,
    Plot,
    fit,
    legend_below,
    new_figure,
    note_inside,
)
from asr_parallel.report.groups import Curve

COLUMNS = 2
DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)), (0, (8, 2, 1, 2, 1, 2)))


@dataclass(frozen=True)
class _Against:
    name: str
    attribute: str  # of an Evaluation
    text: str
    colour: str
    title: str


AGAINST = (
    _Against("loss_frames", "frames", "frames of all workers", NEUTRAL, "Held-out loss against frames"),
    _Against("loss_modelled", "modelled_seconds", "modelled seconds", MODELLED, "Held-out loss against modelled time"),
    _Against("loss_measured", "measured_seconds", "measured seconds", MEASURED, "Held-out loss against measured time"),
)


def learning_curve_plots(curves: Sequence[Curve]) -> list[Plot]:
    """Return three figures with a panel for each system and a line for each training."""
    return [_plot(curves, against) for against in AGAINST]


def _plot(curves: Sequence[Curve], against: _Against) -> Plot:
    rows = -(-len(curves) // COLUMNS)
    workers = sorted({g.workers for curve in curves for g in curve.groups if g.done and not g.is_baseline})
    height = 0.9 + 1.25 * rows + LEGEND_LINE * (len(workers) // 3 + 1)
    figure, axes = new_figure(height, rows, COLUMNS, sharex=True, sharey=True)
    values = [
        value for curve in curves for g in curve.groups for c in g.done for value, _ in _learning_curve(c, against)
    ]
    for number, (panel, curve) in enumerate(zip(axes, curves, strict=False)):
        panel.set_title(fit(curve.system, 27), loc="left", pad=3)
        for group in curve.groups:
            for cell in group.done:
                if points := _learning_curve(cell, against):
                    panel.plot(*zip(*points, strict=True), **_line(cell, workers, group.is_baseline))
        if number + COLUMNS >= len(curves):
            panel.tick_params(labelbottom=True)
            panel.set_xlabel(against.text, color=against.colour)
    for panel in axes[len(curves) :]:
        panel.set_visible(False)
    if values:
        _scale(axes, against, values)
    else:
        note_inside(figure, "not known")
    figure.supylabel("held-out loss (nats)", fontsize=9)
    lines = [_style(number, len(workers)) for number in range(len(workers))]
    handles = [Line2D([], [], color="#000000", linewidth=1.4)]
    handles += [Line2D([], [], **line) for line in lines]
    legend_below(figure, handles, ["one worker", *(f"K = {k}" for k in workers)], columns=3)
    last = [
        f"{group.name}: {cell.learning_curve[-1].loss:.3f}"
        for curve in curves for group in curve.groups for cell in group.done
        if cell.learning_curve and cell.learning_curve[-1].loss is not None
    ]  # fmt: skip
    caption = (
        f"Held-out loss (cross-entropy, nats a frame) against {against.text}; a panel for each system, a line for"
        " each seed, the darker the more workers; black: one worker."
    )
    if against.attribute == "measured_seconds":
        caption += " Where workers are replicas on one device, measured time is that of the device, not a speedup."
    alt = f"{against.title}. At the end: {'; '.join(dict.fromkeys(last)) or 'not known'}."
    return Plot(against.name, against.title, alt, caption, figure)


def _learning_curve(cell: Cell, against: _Against) -> list[tuple[float, float]]:
    """Return (position, loss) of the evaluations that have both; on a logarithmic axis only positions above zero."""
    found: list[tuple[float | None, float | None]]
    found = [(getattr(one, against.attribute), one.loss) for one in cell.learning_curve]
    return [(x, y) for x, y in found if x is not None and y is not None and (against.attribute == "frames" or x > 0)]


def _line(cell: Cell, workers: Sequence[int], is_baseline: bool) -> dict[str, Any]:
    if is_baseline:
        return {"color": "#000000", "linewidth": 1.4, "linestyle": "-", "zorder": 3}
    return _style(workers.index(cell.workers), len(workers))


def _style(number: int, many: int) -> dict[str, Any]:
    shade = 0.42 + 0.55 * number / max(1, many - 1)
    return {"color": colormaps["Greens"](shade), "linewidth": 1.2, "linestyle": DASHES[number % len(DASHES)]}


def _scale(axes: Sequence[Axes], against: _Against, values: Sequence[float]) -> None:
    """Scale the x axis: frames linearly from zero, seconds, of which many workers need few, logarithmically."""
    if against.attribute == "frames":
        axes[0].set_xlim(0, max(1, *values, 1) * 1.02)
        axes[0].xaxis.set_major_locator(MaxNLocator(4))
        axes[0].xaxis.set_major_formatter(EngFormatter(sep=""))
        return
    axes[0].set_xscale("log")
    axes[0].set_xlim(min(values) / 1.1, max(values) * 1.1)
    many = max(values) / min(values) > 30
    axes[0].xaxis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 3.0), numticks=6))
    axes[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[0].xaxis.set_minor_locator(NullLocator())
