"""Parts of a training's time, on the measured and on the modelled clock."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from asr_parallel.report.comparison import Cell
from asr_parallel.report.figures import MEASURED, MODELLED, Plot, legend_below, new_figure, note_inside, row_name
from asr_parallel.report.groups import Group, SeedMean

PARTS = {"compute": "C", "wait": "W", "exchange": "X", "label": "L", "other": "O"}
MIN_NAMED = 0.07  # share of a bar that has room for its letter


@dataclass(frozen=True)
class _Bars:
    name: str  # of a Cell's attribute
    parts: tuple[str, ...]
    colour: str
    fills: tuple[str, ...]
    hatches: tuple[str, ...]


CLOCKS = (
    _Bars("measured", tuple(PARTS), MEASURED, ("#08306B", "#2A75B5", "#6BAED6", "#B5D4E9", "#EDF4FB"), ("",) * 5),
    _Bars(
        "modelled", tuple(PARTS)[:-1], MODELLED, ("#C8590A", "#F08A3C", "#FDBE85", "#FEEDDE"),
        ("////", "\\\\\\\\", "xxxx", "----"),
    ),
)  # fmt: skip


def time_plots(groups: Sequence[Group]) -> list[Plot]:
    """Return two figures of stacked bars, a bar for each group."""
    return [_plot(groups, clock) for clock in CLOCKS]


def _plot(groups: Sequence[Group], clock: _Bars) -> Plot:
    rows = [(group, split) for group in groups if (split := _parts_of(group, clock))]
    figure, (axes,) = new_figure(1.1 + 0.23 * max(4, len(rows)))
    tips: dict[str, str] = {}
    for place, (group, split) in enumerate(rows):
        _bar(axes, place, split, clock, group, tips)
    axes.annotate(
        "s", (100, -0.75), (3, 0), textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        color=clock.colour,
    )  # fmt: skip
    if not rows:
        note_inside(figure, "not known")
    axes.set_yticks(range(len(rows)), [row_name(group) for group, _ in rows])
    axes.set_ylim(max(4, len(rows)) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"share of {clock.name} time (%)", color=clock.colour)
    patches = [Patch(facecolor=f, hatch=h, edgecolor="#222222", linewidth=0.5) for f, h in _looks(clock)]
    legend_below(figure, patches, [f"{PARTS[part]}: {part} ({clock.name})" for part in clock.parts], columns=2)
    title = f"Where the {clock.name} time goes"
    rest = ", everything else" if "other" in clock.parts else ""
    caption = (
        f"Shares of {clock.name} time, mean over seeds: computing, waiting for other workers, exchanging, labelling"
        f" (outputs of an ensemble){rest}. At the right: {clock.name} seconds of the whole training."
    )
    if clock.name == "measured":
        caption += " Where workers are replicas on one device, this is the time of that device."
    alt = f"{title}. {'; '.join(dict.fromkeys(tips.values())) or 'Not known'}."
    return Plot(f"time_{clock.name}", title, alt, caption, figure, tips)


def _bar(axes: Axes, place: int, split: dict[str, float], clock: _Bars, group: Group, tips: dict[str, str]) -> None:
    total, left = sum(split.values()), 0.0
    text = ", ".join(f"{part} {100 * split[part] / total:.1f} %" for part in clock.parts if part in split)
    for part, (fill, hatch) in zip(clock.parts, _looks(clock), strict=True):
        share = split.get(part, 0.0) / total
        if share > 0:
            gid = f"tip-{len(tips)}"
            bar = axes.barh(
                place, 100 * share, 0.72, left=100 * left, color=fill, hatch=hatch, edgecolor="#222222", linewidth=0.5
            )[0]
            bar.set_gid(gid)
            tips[gid] = f"{group.name}, {clock.name}: {text}"
            if share >= MIN_NAMED:
                box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"}
                middle = 100 * (left + share / 2)
                axes.text(middle, place, PARTS[part], ha="center", va="center_baseline", fontsize=8, bbox=box)
        left += share
    seconds = SeedMean.of(_part(cell, clock, "seconds") for cell in group.done)
    if seconds:
        axes.annotate(
            _amount(seconds.value), (100, place), (3, 0), textcoords="offset points", va="center", fontsize=8.5,
            annotation_clip=False, color=clock.colour,
        )  # fmt: skip


def _looks(clock: _Bars) -> list[tuple[str, str]]:
    return list(zip(clock.fills, clock.hatches, strict=True))


def _parts_of(group: Group, clock: _Bars) -> dict[str, float]:
    """Return mean seconds of each part that is known for any seed; empty when there are none."""
    known = {}
    for part in clock.parts:
        if mean := SeedMean.of(_part(cell, clock, part) for cell in group.done):
            known[part] = mean.value
    return known if sum(known.values()) > 0 else {}


def _part(cell: Cell, clock: _Bars, part: str) -> float | None:
    value: float | None = getattr(getattr(cell, clock.name), part, None)
    return value


def _amount(seconds: float) -> str:
    return f"{seconds:,.0f}".replace(",", " ") if seconds >= 100 else f"{seconds:.3g}"
