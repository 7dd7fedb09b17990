"""What the figures of a comparison have in common: size, colours, axes, and how they become files.

Colours are for the clocks: measured is blue and solid, modelled is orange and, where it fills, hatched. Systems have
colours beside these two, and each a marker and a style of line of its own, so that no figure needs colours to be read.
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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asr_parallel.record.files import whole_file
from asr_parallel.report.frontier import Curve

WIDTH = 4.4  # inches: at 9 points legible on a phone 400 pixels wide, and as wide as a column of a paper can be
DPI = 250
LONGEST = {1: 48, 2: 24, 3: 16}  # letters of a label, by the number of columns of a legend
LEGEND_LINE = 0.19  # inches
LINE_ABOVE, LINE_HEIGHT = 64, 0.15  # letters that fit at 8 points; inches
MEASURED, MODELLED, NEUTRAL = "#0B5394", "#9C4A00", "#333333"  # at least 6:1 against white
GRID = "#DDDDDD"
# Of Paul Tol's muted scheme and black, which can be told apart with any kind of colour vision; without blue and orange
COLOURS = ("#000000", "#117733", "#AA4499", "#999933", "#882255", "#44AA99", "#CC6677", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
FILLINGS: tuple[Any, ...] = ("full", "none", "left", "top", "right")  # as many as make 20 pairs with LINES
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
    """A figure and what is said of it.

    Attributes:
        name: of its files.
        alt: what it shows, for those who do not see it.
        caption: how it is to be read, and what is not in it.
        tips: texts for parts of the picture, by the gid of what they belong to.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Figure
    tips: dict[str, str] = field(default_factory=dict)

    @cached_property
    def svg(self) -> bytes:
        """The figure as an SVG document, the same for the same figure; first asked for within house_style()."""
        out = BytesIO()
        FigureCanvasSVG(self.figure).print_svg(out, metadata={"Date": None, "Creator": None})
        self.figure.dpi = DPI  # print_svg leaves 72, and save() has yet to write the PNG
        return out.getvalue()


@contextmanager
def house_style() -> Iterator[None]:
    """Within this, figures are drawn and written as all of a report are."""
    with rc_context(STYLE):
        yield


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the one width and of some height in inches, and its axes, row by row."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for one in axes:
        one.grid(color=GRID, linewidth=0.6)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def systems_style(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """How the line of each system is drawn: colour and marker by algorithm, style and filling by variant."""
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
    """One legend for the whole figure, outside of its axes."""
    texts = [" " + fit(label, LONGEST[columns]) for label in labels]  # the space: "_x" would be left out
    if texts:
        figure.legend(handles, texts, loc="outside lower left", ncols=columns, frameon=False, handlelength=2.6)


def say_above(figure: Figure, text: str) -> None:
    """Say in the figure itself, above its axes, what it is of; below what was said before. The figure grows by it."""
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
    """The text, cut where it is too long for a figure."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_columns(labels: Sequence[str]) -> int:
    """Two, or one where a label is too long for that."""
    return 1 if max(map(len, labels), default=0) > LONGEST[2] else 2


def printable(text: str) -> str:
    """The text in one line, with a replacement character for whatever cannot be shown."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def save(plot: Plot, folder: Path) -> None:
    """Write NAME.png and NAME.svg."""
    with whole_file(folder / f"{plot.name}.png") as aside:
        FigureCanvasAgg(plot.figure).print_png(aside)
    with whole_file(folder / f"{plot.name}.svg") as aside:
        aside.write_bytes(plot.svg)
