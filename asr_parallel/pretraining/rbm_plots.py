"""Plots of pretraining: reports of a stack's layers, and the first layer's filters."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.training.curves import save_png

KIND = "rbm"
# Plotted for every layer: a value of its record, the label of its axis
PANELS = [
    ("reconstruction_error", "squared error of the\nreconstruction, a unit"),
    ("free_energy_gap", "free energy, held-out\nminus training (nats)"),
    ("mean_activation", "mean activation of\nthe hidden units"),
    ("weight_stddev", "standard deviation\nof the weights"),
]
MAX_FILTERS = 100  # drawn; those with the largest norm


def plot_layers(records: Sequence[Path], out_png: Path) -> None:
    """Draw reconstruction error, free-energy gap, mean activation and spread of the weights of every layer.

    Args:
        records: train.jsonl of each layer, first layer first.
        out_png: gets the picture, 1600 x 1600 pixels.

    Raises:
        ValueError: a file is empty, or has a line that is not about pretraining.
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
    save_png(figure, out_png)


def _read(path: Path) -> list[dict[str, Any]]:
    lines = read_json_lines(path)
    wanted = {"frames", *(name for name, _ in PANELS)}
    for number, line in enumerate(lines, start=1):
        if line.get("kind") != KIND or not wanted <= line.keys():
            raise ValueError(f"{path}: line {number}: expected a line of a layer's record, of kind {KIND}")
    if not lines:
        raise ValueError(f"{path}: expected at least one line of a layer's record")
    return lines


def plot_filters(weight: np.ndarray, frame_dim: int, out_png: Path) -> None:
    """Draw the rows of weight (H, frames * frame_dim): time to the right, feature upwards, one scale for all.

    Raises:
        ValueError: rows that are not whole frames.
    """
    if weight.ndim != 2 or weight.shape[1] % frame_dim:
        raise ValueError(f"weights of shape {weight.shape}: expected rows of whole frames of {frame_dim} features")
    strongest = np.argsort(-np.linalg.norm(weight, axis=1), kind="stable")[:MAX_FILTERS]
    side = math.ceil(math.sqrt(len(strongest)))
    figure = Figure(figsize=(8, 8), dpi=200, layout="constrained")
    largest = float(np.abs(weight[strongest]).max()) or 1.0
    for place, unit in enumerate(strongest, start=1):
        axes = figure.add_subplot(side, side, place)
        patch = weight[unit].reshape(-1, frame_dim).T
        axes.imshow(patch, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_xticks([])
        axes.set_yticks([])
    save_png(figure, out_png)
