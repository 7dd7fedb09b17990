"""Figures with one curve a system and one point a number of workers: WER, efficiency and bytes sent."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from asr_parallel.report.figures import (
    BASELINE,
    LEGEND_LINE,
    MODELLED,
    NEUTRAL,
    Plot,
    doubling_axis,
    legend_below,
    legend_columns,
    new_figure,
    say_above,
    systems_style,
)
from asr_parallel.report.frontier import Curve, Group, Speedup, frontier

SPEEDUPS: dict[Speedup, str] = {
    "speedup_frames": "speedup, same frames (modelled)",
    "speedup_loss": "speedup, same held-out loss (modelled)",
}
WIDE = 3  # the worst WER over the best
MOST_NAMED = 14  # points that are called by their K; if there are more, those of the frontier


def wer_plot(groups: Sequence[Group], curves: Sequence[Curve], which: Speedup, name: str, scored: str) -> Plot:
    """WER on a set against one of the two speedups, with confidence bars and the frontier.

    Args:
        scored: how many words, and who scored.
    """
    figure, (axes,) = new_figure(_height(3.3, curves))
    say_above(figure, scored)
    best = frontier(groups, which, name)
    drawn = {id(group) for curve in curves for group in curve.groups if group.point(which, name)}
    tips, styles = dict[str, str](), systems_style(curves)
    seen: set[Group] = set()
    handles, labels, speeds = [Line2D([], [], **BASELINE)], ["one worker"], []
    for curve in curves:
        style = styles[curve.system]
        placed = [(group, point) for group in curve.groups if (point := group.point(which, name)) is not None]
        if not placed:
            continue
        axes.plot(*zip(*(point for _, point in placed), strict=True), **{**style, "marker": ""})
        for group, (speedup, wer) in placed:
            if group in seen:
                continue
            seen.add(group)
            speeds.append(speedup)
            look = BASELINE if group.is_baseline else {**style, "linestyle": ""}
            if interval := group.interval(name):
                bar = {"color": look["color"], "linewidth": 0.8, "marker": "_", "markersize": 5, "alpha": 0.6}
                axes.plot([speedup] * 2, interval, **bar)
            one = axes.plot([speedup], [wer], **look, zorder=3)[0]
            one.set_gid(f"tip-{len(tips)}")
            tips[f"tip-{len(tips)}"] = _tip(group, which, name)
            if len(drawn) <= MOST_NAMED or group in best:
                beside = (5, 6) if group in best else (3, 4)
                axes.annotate(
                    str(group.workers), (speedup, wer), beside, textcoords="offset points", fontsize=8.5, zorder=5
                )
        if len(placed) > sum(group.is_baseline for group, _ in placed):
            handles.append(Line2D([], [], **style))
            labels.append(curve.system)
    if best:
        points = [point for group in best if (point := group.point(which, name)) is not None]
        axes.plot(*zip(*points, strict=True), color="#555555", linewidth=3.5, alpha=0.25, zorder=1)
        axes.plot(*zip(*points, strict=True), linestyle="", marker="o", markersize=11, markerfacecolor="none",
                  markeredgecolor="#555555", markeredgewidth=1.2, zorder=4)  # fmt: skip
        handles.append(Line2D([], [], color="#BBBBBB", linewidth=3.5, marker="o", markersize=9, markerfacecolor="none",
                              markeredgecolor="#555555"))  # fmt: skip
        labels.append("frontier")
        doubling_axis(axes, speeds)
        _wide_range(axes, [wer for group in seen if (point := group.point(which, name)) for wer in point[1:]])
    else:
        _nothing(figure, "no group has both")
    axes.set_xlabel(SPEEDUPS[which], color=MODELLED)
    axes.set_ylabel(f"{name} WER (%)")
    legend_below(figure, handles, labels, legend_columns(labels))
    left_out = dict[str, list[int]]()  # numbers of workers, by system
    for group in groups:
        if group.done and id(group) not in drawn:
            left_out.setdefault(group.system, []).append(group.workers)
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
        named = (f"{system}, K = {', '.join(map(str, of))}" for system, of in left_out.items())
        caption += f" Not drawn ({why}): {'; '.join(named)}."
    title = f"{name} WER against {SPEEDUPS[which]}"
    alt = f"{title}. On the frontier: {'; '.join(_tip(group, which, name) for group in best) or 'nothing'}."
    return Plot(f"wer_{which}", title, alt, caption, figure, tips)


def _wide_range(axes: Axes, values: Sequence[float]) -> None:
    """Make the y axis logarithmic where one system fails and the others would all look alike."""
    if min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def efficiency_plot(curves: Sequence[Curve]) -> Plot:
    """Modelled efficiency in per cent against K."""
    figure, axes, tips = _against_workers(curves, lambda g: _scaled(g, lambda c: c.efficiency, 100), "{:.0f} %")
    for level in (100, 90):
        axes.axhline(level, color="#777777", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    axes.set_ylim(0, max(108, axes.get_ylim()[1]))
    axes.set_ylabel("efficiency (modelled, %)", color=MODELLED)
    caption = (
        "Efficiency (modelled): speedup for the same frames, divided by the number of workers; mean over seeds."
        " Dotted: 100 % and 90 %."
    )
    title = "Efficiency (modelled) against the number of workers"
    return Plot("efficiency", title, _list(title, tips), caption, figure, tips)


def bytes_plot(curves: Sequence[Curve]) -> Plot:
    """What a worker sends in a whole training."""
    figure, axes, tips = _against_workers(
        curves, lambda g: _scaled(g, lambda c: c.bytes_per_worker or None), "{:.3g} B"
    )
    if tips:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(EngFormatter("B", sep=" "))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=20))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("bytes sent by a worker")
    caption = "Bytes that a worker sends in the whole training, mean over workers and seeds; none is not drawn."
    title = "Bytes sent against the number of workers"
    return Plot("bytes", title, _list(title, tips), caption, figure, tips)


def _against_workers(
    curves: Sequence[Curve], value: Callable[[Group], float | None], form: str
) -> tuple[Figure, Axes, dict[str, str]]:
    figure, (axes,) = new_figure(_height(2.5, curves))
    styles, tips = systems_style(curves), dict[str, str]()
    handles, labels, workers, seen = [], [], [], set[Group]()
    for curve in curves:
        placed = [(group, found) for group in curve.groups if (found := value(group)) is not None]
        if not placed:
            continue
        style = styles[curve.system]
        axes.plot([g.workers for g, _ in placed], [found for _, found in placed], **{**style, "marker": ""})
        for group, found in placed:
            if group in seen:
                continue
            seen.add(group)
            workers.append(group.workers)
            look = BASELINE if group.is_baseline else {**style, "linestyle": ""}
            one = axes.plot([group.workers], [found], **look)[0]
            one.set_gid(f"tip-{len(tips)}")
            tips[f"tip-{len(tips)}"] = f"{group.name}: {form.format(found)}"
        handles.append(Line2D([], [], **style))
        labels.append(curve.system)
    if workers:
        doubling_axis(axes, workers, sorted(set(workers)))
    else:
        _nothing(figure, "not known")
    axes.set_xlabel("number of workers K")
    legend_below(figure, handles, labels, legend_columns(labels))
    return figure, axes, tips


def _scaled(group: Group, value: Callable, scale: float = 1) -> float | None:
    found = group.mean(value)
    return scale * found.mean if found else None


def _tip(group: Group, which: Speedup, name: str) -> str:
    point, interval = group.point(which, name), group.interval(name)
    assert point is not None
    bars = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{group.name}: {name} WER {point[1]:.2f} %{bars}, {SPEEDUPS[which]} {point[0]:.2f}"


def _list(title: str, tips: dict[str, str]) -> str:
    return f"{title}. {'; '.join(dict.fromkeys(tips.values())) or 'Nothing to show'}."


def _nothing(figure: Figure, text: str) -> None:
    figure.text(0.55, 0.6, text, ha="center", color=NEUTRAL)


def _height(axes: float, curves: Sequence[Curve]) -> float:
    """Inches, with room for the legend."""
    columns = legend_columns([curve.system for curve in curves])
    return axes + LEGEND_LINE * (-(-(len(curves) + 2) // columns))
