"""Shared parts of a comparison's figures: size, colours, axes, and files.

Measured time is blue and solid, modelled time is orange and, where it fills, hatched. Systems have other colours, and
each its own marker and line style, so that figures can be read without colours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asr_parallel.record.files import atomic_file
from asr_parallel.report.groups import Curve, Group
from asr_parallel.report.templates import printable
from asr_parallel.training.curves import save_png

WIDTH = 4.4  # inches: at 9 points legible on a phone 400 pixels wide, and fits a wide column of a paper
DPI = 250
MAX_LABEL = {1: 48, 2: 24, 3: 16}  # letters of a label, by the number of columns of a legend
MAX_ROW_NAME = 30  # letters
LEGEND_LINE = 0.19  # inches
LINE_ABOVE, LINE_HEIGHT = 64, 0.15  # letters that fit at 8 points; inches
MEASURED, MODELLED, NEUTRAL = "#0B5394", "#9C4A00", "#333333"  # at least 6:1 against white
GRID = "#DDDDDD"
# Paul Tol's muted scheme and black, distinguishable with any kind of colour vision; without blue and orange
COLOURS = ("#000000", "#117733", "#AA4499", "#999933", "#882255", "#44AA99", "#CC6677", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
FILLINGS: tuple[Any, ...] = ("full", "none", "left", "top", "right")  # 20 pairs with LINES
BASELINE: dict[str, Any] = {"color": "#000000", "marker": "*", "markersize": 9, "linestyle": ""}
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "font.family": "sans-serif",
    "text.parse_math": False,  # names are no formulas
    "svg.fonttype": "none",
    "svg.hashsalt": "asr-parallel",
    "axes.unicode_minus": False,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True)
class Plot:
    """A figure and its texts.

    Attributes:
        name: of its files.
        alt: description for those who do not see it.
        caption: how to read it, and what it leaves out.
        tips: texts for parts of the picture, by their gid.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Figure
    tips: dict[str, str] = field(default_factory=dict)

    @cached_property
    def svg(self) -> bytes:
        """The figure as an SVG document, the same for the same figure; compute it first within house_style()."""
        out = BytesIO()
        FigureCanvasSVG(self.figure).print_svg(out, metadata={"Date": None, "Creator": None})
        self.figure.dpi = DPI  # print_svg leaves 72, and save() has yet to write the PNG
        return out.getvalue()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and write figures in the style of a report within this context."""
    with rc_context(STYLE):
        yield


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of the common width and of some height in inches, and its axes, row by row."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for one in axes:
        one.grid(color=GRID, linewidth=0.6)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def systems_style(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """Return the style of each system's line: colour and marker by algorithm, line style and filling by variant."""
    algorithms = list(dict.fromkeys(curve.algorithm for curve in curves))
    variants = dict.fromkeys(algorithms, 0)
    styles: dict[str, dict[str, Any]] = {}
    for curve in curves:
        number, variant = algorithms.index(curve.algorithm), variants[curve.algorithm]
        colour = COLOURS[number % len(COLOURS)]
        styles[curve.system] = {
            "color": colour, "marker": MARKERS[(number + number // len(MARKERS)) % len(MARKERS)], "markersize": 5,
            "linestyle": LINES[variant % len(LINES)], "linewidth": 1.3, "markeredgecolor": colour,
            "fillstyle": FILLINGS[variant % len(FILLINGS)], "markerfacecoloralt": "white",
        }  # fmt: skip
        variants[curve.algorithm] += 1
    return styles


def legend_below(figure: Figure, handles: Sequence[Line2D | Any], labels: Sequence[str], columns: int) -> None:
    """Add one legend for the whole figure, outside its axes."""
    texts = [" " + fit(label, MAX_LABEL[columns]) for label in labels]  # the space: matplotlib leaves out "_x"
    if texts:
        figure.legend(handles, texts, loc="outside lower left", ncols=columns, frameon=False, handlelength=2.6)


def note_inside(figure: Figure, text: str) -> None:
    """Write a note into the middle of an empty figure."""
    figure.text(0.55, 0.6, text, ha="center", color=NEUTRAL)


def note_above(figure: Figure, text: str) -> None:
    """Write a note above the axes, below earlier notes, and make the figure higher by as much."""
    lines = wrap(printable(text), LINE_ABOVE, max_lines=3, placeholder=" …")
    before = figure.get_suptitle().splitlines()
    figure.suptitle("\n".join([*before, *lines]), x=0.01, horizontalalignment="left", fontsize=8, color=NEUTRAL)
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * len(lines))


def doubling_axis(axes: Axes, values: Sequence[float], ticks: Sequence[float] = ()) -> None:
    """Make the x axis logarithmic, from the least to the largest value, with ticks at powers of two unless given."""
    least, most = min(values), max(values)
    margin = max((most / least) ** 0.06, 1.1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(least / margin, most * margin)
    factors = (1.0,) if most > 4 * least else (1.0, 1.25, 1.5, 1.75)
    ticks = ticks or [factor * 2.0**n for n in range(-20, 40) for factor in factors]
    ticks = [tick for tick in ticks if least / margin <= tick <= most * margin]
    axes.xaxis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    axes.xaxis.set_ticks([], minor=True)


def fit(text: str, most: int) -> str:
    """Return the text, cut where it is too long for a figure."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def row_name(group: Group) -> str:
    """Return the group's name beside a row, which keeps its number of workers even if it is cut."""
    number = group.name.removeprefix(group.system)
    return fit(group.system, MAX_ROW_NAME - len(number)) + number


def legend_columns(labels: Sequence[str]) -> int:
    """Return 2, or 1 where a label is too long for that."""
    return 1 if max(map(len, labels), default=0) > MAX_LABEL[2] else 2


def save(plot: Plot, folder: Path) -> None:
    """Write NAME.png and NAME.svg."""
    save_png(plot.figure, folder / f"{plot.name}.png")
    with atomic_file(folder / f"{plot.name}.svg") as temp:
        temp.write_bytes(plot.svg)
