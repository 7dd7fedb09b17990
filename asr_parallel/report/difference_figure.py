"""Differences in WER from the single worker, with their intervals."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from asr_parallel.report.difference_tables import interval_text
from asr_parallel.report.differences import Contestant, WerDifference
from asr_parallel.report.figures import (
    LEGEND_LINE,
    Plot,
    legend_below,
    new_figure,
    note_above,
    note_inside,
    row_name,
)

LOOKS: dict[str, dict[str, Any]] = {  # by verdict
    "better": {"color": "#117733", "marker": "o"},
    "worse": {"color": "#882255", "marker": "X", "markersize": 7},
    "equivalent": {"color": "#117733", "marker": "D", "markerfacecolor": "white"},
    "no difference found": {"color": "#000000", "marker": "o", "markerfacecolor": "white"},
}
BAND = "#CCCCCC"
ONE_SEED: Any = (0, (2, 1.5))
WIDE = 20  # differences of so many margins make the axis logarithmic outside the margins

LONG = 3  # an interval is cut where it is longer than so many times the largest difference


def difference_plot(found: Sequence[Contestant], name: str, scored: str, margin: float) -> Plot:
    """Plot the difference in WER on the set `name` of each system from its single worker, by number of workers.

    The figure bears `scored`: how many words, and who scored. margin: per cent of the single worker's WER.
    """
    rows = [(one, one.wer[name]) for one in found if name in one.wer]
    figure, (axes,) = new_figure(1.0 + 3 * LEGEND_LINE + 0.23 * max(3, len(rows)))
    note_above(figure, scored)
    tips: dict[str, str] = {}
    for place, (one, difference) in enumerate(rows):
        gid = f"tip-{place}"
        _row(axes, place, difference, gid)
        tips[gid] = f"{one.group.name}: {interval_text(difference.paired, '+.2f')}, {difference.said}"
    axes.axvline(0, color="#000000", linewidth=0.8)
    if rows:
        _scale(axes, [difference for _, difference in rows])
    else:
        note_inside(figure, "not known")
    axes.set_yticks(range(len(rows)), [row_name(one.group) for one, _ in rows])
    axes.set_ylim(max(3, len(rows)) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"difference in {name} WER (%)")
    shown = dict.fromkeys(difference.verdict for _, difference in rows)
    handles: list[Any] = [Line2D([], [], **_look(verdict), linestyle="-") for verdict in shown]
    if any(difference.paired.seeds == 1 for _, difference in rows):
        handles.append(Line2D([], [], color="#000000", linewidth=1.2, linestyle=ONE_SEED))
    legend_below(
        figure, [*handles, Patch(color=BAND)], [*shown, *["one seed"] * (len(handles) - len(shown)), "margin"], 2
    )
    title = f"Difference in {name} WER from one worker"
    caption = (
        f"{scored}. WER less the single worker's, mean over common seeds, with its 95 % interval by bootstrap over"
        " speakers and seeds, the same for both; left is better. Dashed, of one seed: it is about these two trainings"
        f" only. Intervals that reach the edge are longer. Grey: the margin, {margin:g} % of the single worker's WER."
    )
    return Plot("difference", title, f"{title}. {'; '.join(tips.values()) or 'Not known'}.", caption, figure, tips)


def _row(axes: Axes, place: int, difference: WerDifference, gid: str) -> None:
    look, margin = _look(difference.verdict), difference.margin
    axes.add_patch(Rectangle((-margin, place - 0.4), 2 * margin, 0.8, color=BAND, linewidth=0, zorder=0.5))
    line = ONE_SEED if difference.paired.seeds == 1 else "-"
    axes.plot(difference.paired.interval(), [place, place], color=look["color"], linewidth=1.2, linestyle=line)
    axes.plot(difference.paired.difference, place, **look, linestyle="", zorder=3, gid=gid)


def _look(verdict: str) -> dict[str, Any]:
    return {"markersize": 5, "markeredgecolor": LOOKS[verdict]["color"], "linewidth": 1.2, **LOOKS[verdict]}


def _scale(axes: Axes, differences: Sequence[WerDifference]) -> None:
    """Leave room around all differences, and keep small ones apart where a system fails."""
    margin = max(difference.margin for difference in differences)
    if margin and max(abs(difference.paired.difference) for difference in differences) > WIDE * margin:
        axes.set_xscale("symlog", linthresh=2 * margin)
        axes.xaxis.set_major_formatter("{x:g}")
    most = LONG * max(max(abs(one.paired.difference), one.margin) for one in differences)
    ends = [end for one in differences for end in (*one.paired.interval(), -one.margin, one.margin)]
    low, high = max(min(ends), -most), min(max(ends), most)
    room = 0.03 * (high - low)
    axes.set_xlim(low - room, high + room)
