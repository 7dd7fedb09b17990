"""Figures with one curve a system and one point a number of workers: WER, efficiency and bytes sent."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from asr_parallel.report.comparison import Comparison
from asr_parallel.report.figures import (
    BASELINE,
    LEGEND_LINE,
    MODELLED,
    Plot,
    doubling_axis,
    legend_below,
    legend_columns,
    new_figure,
    note_above,
    note_inside,
    systems_style,
)
from asr_parallel.report.groups import Curve, Group, Speedup, frontier
from asr_parallel.report.target import goals, to_goal

SPEEDUPS: dict[Speedup, str] = {
    "speedup_frames": "speedup, same frames (modelled)",
    "speedup_loss": "speedup, same held-out loss (modelled)",
}
WIDE = 3  # ratio of the worst WER to the best that makes the axis logarithmic
MAX_NAMED = 14  # points that are labelled with their K; if there are more, only those of the frontier
Point = tuple[float, float]


def wer_plot(groups: Sequence[Group], curves: Sequence[Curve], which: Speedup, name: str, scored: str) -> Plot:
    """Plot WER on the set `name` against one of the two speedups, with confidence bars and the frontier.

    The figure bears `scored`: how many words, and who scored.
    """

    def tip(group: Group, point: Point) -> str:
        interval = group.interval(name)
        bars = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
        return f"{group.name}: {name} WER {point[1]:.2f} %{bars}, {SPEEDUPS[which]} {point[0]:.2f}"

    figure, (axes,) = new_figure(_height(3.3, curves))
    note_above(figure, scored)
    best = frontier(groups, which, name)
    styles = systems_style(curves)
    points, drawn, tips = _draw(axes, curves, styles, lambda group: group.point(which, name), tip)
    for group, (speedup, wer) in points.items():
        if interval := group.interval(name):
            colour = BASELINE["color"] if group.is_baseline else styles[group.system]["color"]
            axes.plot([speedup] * 2, interval, color=colour, linewidth=0.8, marker="_", markersize=5, alpha=0.6)
        if len(points) <= MAX_NAMED or group in best:
            beside = (5, 6) if group in best else (3, 4)
            axes.annotate(
                str(group.workers), (speedup, wer), beside, textcoords="offset points", fontsize=8.5, zorder=5
            )
    labels = [system for system, of in drawn.items() if not all(group.is_baseline for group in of)]
    handles = [Line2D([], [], **style) for style in (BASELINE, *(styles[system] for system in labels))]
    labels.insert(0, "one worker")
    if best:
        ends = [points[group] for group in best]
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "#555555"}
        axes.plot(*zip(*ends, strict=True), color="#555555", linewidth=3.5, alpha=0.25, zorder=1)
        axes.plot(*zip(*ends, strict=True), linestyle="", markersize=11, markeredgewidth=1.2, zorder=4, **ring)
        handles.append(Line2D([], [], color="#BBBBBB", linewidth=3.5, markersize=9, **ring))
        labels.append("frontier")
        doubling_axis(axes, [speedup for speedup, _ in points.values()])
        _wide_range(axes, [wer for _, wer in points.values()])
    else:
        note_inside(figure, "no group has both")
    axes.set_xlabel(SPEEDUPS[which], color=MODELLED)
    axes.set_ylabel(f"{name} WER (%)")
    legend_below(figure, handles, labels, legend_columns(labels))
    left_out = dict[str, list[str]]()  # numbers of workers, by system
    for group in groups:
        if group.done and group not in points:
            left_out.setdefault(group.system, []).append(str(group.workers))
    caption = (
        f"{scored}. Right and down is better. Numbers beside points are K."
        f" Points are means over seeds{', speedups medians' if which == 'speedup_loss' else ''}; bars are 95 %"
        " confidence intervals by bootstrap over speakers and seeds. Rings mark the frontier: no other point is at"
        " least as fast and as accurate; where bars overlap, that may be chance."
    )
    if left_out:
        why = "the one worker's held-out loss was not reached by all seeds, or no WER"
        if which == "speedup_frames":
            why = "no speedup, no WER, or of another number of frames"
        named = (f"{system}, K = {', '.join(of)}" for system, of in left_out.items())
        caption += f" Not drawn ({why}): {'; '.join(named)}."
    title = f"{name} WER against {SPEEDUPS[which]}"
    alt = f"{title}. On the frontier: {'; '.join(tip(group, points[group]) for group in best) or 'nothing'}."
    return Plot(f"wer_{which}", title, alt, caption, figure, tips)


def efficiency_plot(curves: Sequence[Curve]) -> Plot:
    """Plot modelled efficiency in per cent against K."""

    def efficiency(group: Group) -> float | None:
        mean = group.mean(lambda cell: cell.efficiency)
        return 100 * mean.value if mean else None

    figure, axes, tips = _against_workers(curves, efficiency, "{:.0f} %")
    for level in (100, 90):
        axes.axhline(level, color="#777777", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    axes.set_ylim(0, max(108, axes.get_ylim()[1]))
    axes.set_ylabel("efficiency (modelled, %)", color=MODELLED)
    caption = (
        "Efficiency (modelled): speedup for the same frames, divided by the number of workers; mean over seeds."
        " Dotted: 100 % and 90 %."
    )
    title = "Efficiency (modelled) against the number of workers"
    return Plot("efficiency", title, _alt(title, tips), caption, figure, tips)


def target_plot(curves: Sequence[Curve], comparison: Comparison) -> list[Plot]:
    """Plot the speedup to the held-out loss of the single worker against K; empty without a target."""
    found = goals(comparison)
    if not found:
        return []
    speedups = {one.name: one for one in to_goal(comparison, found[0])}

    def speedup(group: Group) -> float | None:
        one = speedups.get(group.name)
        return one.speedup if one is not None and one.speedup else None

    figure, axes, tips = _against_workers([c for c in curves if c.groups[-1].first.budget == 1], speedup, "{:.2f}")
    if tips:
        low, high = axes.get_xlim()
        axes.plot((low, high), (low, high), color="#777777", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        axes.set_xlim(low, high)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("speedup to the target (modelled)", color=MODELLED)
    caption = (
        f"Speedup (modelled) until held-out loss {found[0].value:.4f}, that of {found[0].set_by}, against the fastest"
        " single worker; medians over seeds, interpolated between completed trainings. Who never reached it is not"
        " drawn. Dotted: K."
    )
    title = "Speedup to the target (modelled) against the number of workers"
    return [Plot("target", title, _alt(title, tips), caption, figure, tips)]


def bytes_plot(curves: Sequence[Curve]) -> Plot:
    """Plot the bytes that a worker sends in a whole training."""

    def sent(group: Group) -> float | None:
        mean = group.mean(lambda cell: cell.bytes_per_worker or None)
        return mean.value if mean else None

    figure, axes, tips = _against_workers(curves, sent, "{:.3g} B")
    if tips:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter("B", sep=" "))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=20))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("bytes sent by a worker")
    caption = "Bytes that a worker sends in the whole training, mean over workers and seeds; zero is not drawn."
    title = "Bytes sent against the number of workers"
    return Plot("bytes", title, _alt(title, tips), caption, figure, tips)


def _against_workers(
    curves: Sequence[Curve], value: Callable[[Group], float | None], form: str
) -> tuple[Figure, Axes, dict[str, str]]:
    """Return a figure of a value against K, its axes and its tips."""

    def point(group: Group) -> Point | None:
        found = value(group)
        return None if found is None else (group.workers, found)

    figure, (axes,) = new_figure(_height(2.5, curves))
    styles = systems_style(curves)
    points, drawn, tips = _draw(axes, curves, styles, point, lambda g, at: f"{g.name}: {form.format(at[1])}")
    if points:
        workers = [group.workers for group in points]
        doubling_axis(axes, workers, sorted(set(workers)))
    else:
        note_inside(figure, "not known")
    axes.set_xlabel("number of workers K")
    legend_below(figure, [Line2D([], [], **styles[system]) for system in drawn], list(drawn), legend_columns([*drawn]))
    return figure, axes, tips


def _draw(
    axes: Axes, curves: Sequence[Curve], styles: dict[str, dict],
    point: Callable[[Group], Point | None], tip: Callable[[Group, Point], str],
) -> tuple[dict[Group, Point], dict[str, list[Group]], dict[str, str]]:  # fmt: skip
    """Draw a line for each system and a marker for each group; return points, the groups by system, and tips."""
    points, drawn, tips = dict[Group, Point](), dict[str, list[Group]](), dict[str, str]()
    for curve in curves:
        placed = {group: at for group in curve.groups if (at := point(group)) is not None}
        if not placed:
            continue
        drawn[curve.system] = list(placed)
        style = styles[curve.system]
        axes.plot(*zip(*placed.values(), strict=True), **{**style, "marker": ""})
        for group, at in placed.items():
            if group not in points:
                points[group] = at
                gid = f"tip-{len(tips)}"
                tips[gid] = tip(group, at)
                axes.plot(*at, **(BASELINE if group.is_baseline else {**style, "linestyle": ""}), zorder=3, gid=gid)
    return points, drawn, tips


def _wide_range(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis logarithmic if one system fails, so that the others can be distinguished."""
    if min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def _alt(title: str, tips: dict[str, str]) -> str:
    return f"{title}. {'; '.join(dict.fromkeys(tips.values())) or 'Nothing to show'}."


def _height(axes: float, curves: Sequence[Curve]) -> float:
    """Return inches, with room for the legend."""
    columns = legend_columns([curve.system for curve in curves])
    return axes + LEGEND_LINE * (-(-(len(curves) + 2) // columns))
