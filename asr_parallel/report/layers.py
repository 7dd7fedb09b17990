"""The course of pretraining, drawn from the records of a stack's layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from asr_parallel.record.files import whole_file
from asr_parallel.record.json_lines import read_json_lines

KIND = "rbm"
# What is drawn of every layer: names of its record's values, what the axis says
PANELS = [
    ("reconstruction_error", "squared error of the\nreconstruction, a unit"),
    ("free_energy_gap", "free energy, held-out\nminus training (nats)"),
    ("mean_activation", "mean activation of\nthe hidden units"),
    ("weight_stddev", "standard deviation\nof the weights"),
]


def plot_layers(records: Sequence[Path], out_png: Path) -> None:
    """Draw reconstruction error, free-energy gap, mean activation and spread of the weights of every layer.

    Args:
        records: train.jsonl of each layer, from the first on.
        out_png: the picture, 1600 x 1600 pixels.

    Raises:
        ValueError: a file without lines, or with one that is not of pretraining.
    """
    layers = [_read(path) for path in records]
    figure = Figure(figsize=(8, 8), dpi=200, layout="constrained")
    colours = colormaps["viridis"].resampled(len(layers) + 1)
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (name, text) in zip(panels, PANELS, strict=True):
        for number, lines in enumerate(layers, start=1):
            frames, values = [line["frames"] for line in lines], [line[name] for line in lines]
            marker = "." if len(lines) == 1 else ""
            axes.plot(frames, values, color=colours(number - 1), linewidth=1.2, marker=marker, label=f"layer {number}")
        axes.set_ylabel(text)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title("Pretraining of RBMs, layer by layer")
    panels[0].legend(frameon=False, ncols=min(6, len(layers)))
    panels[-1].set_xlabel("frames trained on, over all workers")
    panels[-1].xaxis.set_major_formatter(EngFormatter(sep=" "))
    panels[-1].set_xlim(left=0)
    canvas = FigureCanvasAgg(figure)
    with whole_file(out_png) as aside:
        canvas.print_png(aside)


def _read(path: Path) -> list[dict[str, Any]]:
    lines = read_json_lines(path)
    wanted = {"frames", *(name for name, _ in PANELS)}
    for number, line in enumerate(lines, start=1):
        if line.get("kind") != KIND or not wanted <= line.keys():
            raise ValueError(f"{path}: line {number}: expected a line of a layer's record, of kind {KIND}")
    if not lines:
        raise ValueError(f"{path}: expected at least one line of a layer's record")
    return lines
