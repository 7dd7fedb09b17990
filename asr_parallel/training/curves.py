"""Learning curves of a training, drawn from its train.jsonl."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from asr_parallel.record.files import atomic_file
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training.train_lines import HELD_OUT, ROUND, TRAIN

# Two of Okabe and Ito's colours, distinguishable with any kind of colour vision ("Color Universal Design")
BLUE, VERMILION = "#0072B2", "#D55E00"
GREY = "#595959"

Line = dict[str, Any]


def plot_curves(jsonl: Path, out_png: Path) -> None:
    """Draw loss, frame accuracy and learning rate against the frames trained on.

    Args:
        jsonl: written by training/metrics_logger.py, of a finished or running training.
        out_png: gets the picture, 1600 x 1400 pixels.

    Raises:
        ValueError: the file has no line yet, or one that is not a training's.
    """
    lines = read_json_lines(jsonl)
    if not lines:
        raise ValueError(f"{jsonl}: expected at least one line of a training's record")
    for number, line in enumerate(lines, start=1):
        if line.get("kind") not in (TRAIN, HELD_OUT, ROUND) or not isinstance(line.get("frames"), int):
            raise ValueError(f"{jsonl}: line {number}: expected a line of a training's record, with kind and frames")
    save_png(draw_curves(lines), out_png)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    canvas = FigureCanvasAgg(figure)
    with atomic_file(path) as temp:
        canvas.print_png(temp)  # type: ignore[no-untyped-call]


def draw_curves(lines: list[Line]) -> Figure:
    """Return the figure: axes of the loss, the frame accuracy and, small, the learning rate."""
    figure = Figure(figsize=(8, 7), dpi=200, layout="constrained")
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1])
    _draw_both(loss, lines, "loss", 1)
    _draw_both(accuracy, lines, "accuracy", 100)
    loss.set_ylabel("cross-entropy (nats per frame)")
    accuracy.set_ylabel("frame accuracy (%)")
    if loss.get_legend_handles_labels()[1]:
        loss.legend(frameon=False)
    _draw_rate(rate, lines)
    rate.set_xlabel("frames trained on, over all workers")
    rate.xaxis.set_major_formatter(EngFormatter(sep=" "))
    rate.set_xlim(0, max(1, *(line["frames"] for line in lines)) * 1.02)
    for axes in (loss, accuracy, rate):
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    _mark_epochs(loss, lines)
    return figure


def _draw_both(axes: Axes, lines: list[Line], name: str, scale: float) -> None:
    """Draw training data as a line, held-out data as a line with a dot for each evaluation, hollow if rejected."""
    frames, values = _series(lines, TRAIN, name, scale)
    dot = "." if len(frames) == 1 else ""  # a single point has no line
    if frames:
        axes.plot(frames, values, color=BLUE, linewidth=1.2, marker=dot, label="training data, while it is trained on")
    frames, values = _series(lines, HELD_OUT, name, scale)
    if frames:
        axes.plot(
            frames, values, linewidth=1.2, marker="o", markersize=4.5, color=VERMILION, clip_on=False,
            label="held-out data",
        )  # fmt: skip
    rejected = [line for line in lines if line.get("accepted") is False]
    frames, values = _series(rejected, HELD_OUT, name, scale)
    if frames:
        axes.plot(
            frames, values, linestyle="", marker="o", markersize=4.5, color=VERMILION, markerfacecolor="white",
            label="held-out data, epoch rejected",
        )  # fmt: skip


def _draw_rate(axes: Axes, lines: list[Line]) -> None:
    """Draw the learning rate, which a line gives for the frames before it; on a logarithmic axis if it changes much."""
    frames, values = _series(lines, TRAIN, "learning_rate", 1)
    marker = "." if len(frames) == 1 else ""
    axes.plot(frames, values, color=GREY, linewidth=1.2, drawstyle="steps-pre", marker=marker)
    axes.set_ylabel("learning rate\n(per frame)")
    rates = [value for value in values if value > 0]
    if rates and max(rates) >= 5 * min(rates):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=20))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _mark_epochs(axes: Axes, lines: list[Line]) -> None:
    """Add a second scale above the axes, in epochs."""
    ratio = next((line["frames"] / line["epoch"] for line in reversed(lines) if line.get("epoch")), None)
    if ratio is not None:
        epochs = axes.secondary_xaxis("top", functions=(lambda x: x / ratio, lambda x: x * ratio))
        epochs.set_xlabel("epochs")
        epochs.xaxis.set_major_locator(MaxNLocator(integer=True))


def _series(lines: list[Line], kind: str, name: str, scale: float) -> tuple[list[int], list[float]]:
    """Return frames and scaled values of the lines of one kind; null leaves a gap."""
    chosen = [line for line in lines if line["kind"] == kind]
    values = [line.get(name) for line in chosen]
    return [line["frames"] for line in chosen], [math.nan if value is None else scale * value for value in values]
