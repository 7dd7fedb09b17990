"""The first layer's filters, drawn as spectro-temporal patches."""

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asr_parallel.record.files import whole_file

MOST = 100  # drawn; those with the largest norm


def plot_filters(weight: np.ndarray, frame_dim: int, out_png: Path) -> None:
    """Draw the rows of weight (H, frames * frame_dim): time to the right, feature upwards, one scale for all.

    Raises:
        ValueError: rows that are not whole frames.
    """
    if weight.ndim != 2 or weight.shape[1] % frame_dim:
        raise ValueError(f"weights of shape {weight.shape}: expected rows of whole frames of {frame_dim} features")
    strongest = np.argsort(-np.linalg.norm(weight, axis=1), kind="stable")[:MOST]
    side = math.ceil(math.sqrt(len(strongest)))
    figure = Figure(figsize=(8, 8), dpi=200, layout="constrained")
    largest = float(np.abs(weight[strongest]).max()) or 1.0
    for place, unit in enumerate(strongest, start=1):
        axes = figure.add_subplot(side, side, place)
        patch = weight[unit].reshape(-1, frame_dim).T
        axes.imshow(patch, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_xticks([])
        axes.set_yticks([])
    canvas = FigureCanvasAgg(figure)
    with whole_file(out_png) as aside:
        canvas.print_png(aside)
