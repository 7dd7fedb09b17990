"""Held-out loss of EC-DNN, MA-DNN and E-DNN against frames and against modelled time."""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from ensemble_study import METHODS, Cell, modelled_seconds
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"average": "#0072b2", "ensemble": "#d55e00", "none": "#555555"}  # Okabe & Ito's, told apart by all


def draw(exp: Path, cells: Iterable[Cell], out: Path) -> None:
    """A line each for the workers' mean (L, dashed) and for what they are together (G)."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for cell in cells:
        lines = map(json.loads, (exp / cell.name / "train.jsonl").read_text().splitlines())
        course = [line for line in lines if line["kind"] == "held-out"]
        frames = [line["frames"] for line in course]
        # SyncScheduler cost what they cost all along, so modelled time grows with the frames
        seconds = modelled_seconds(exp, cell)
        single = [mean(line["workers_loss"]) for line in course]
        together = [line["loss"] if cell.method == "average" else line["ensemble_loss"] for line in course]
        for axis, unit in zip(axes, (1e-6, seconds / frames[-1]), strict=True):
            where, colour = [unit * count for count in frames], COLOURS[cell.method]
            axis.plot(where, together, color=colour, label=f"{METHODS[cell.method]}, G, period {cell.period or '-'}")
            axis.plot(where, single, color=colour, linestyle="--", label=f"{METHODS[cell.method]}, L, mean")
    axes[0].set_ylabel("held-out loss (nats a frame)")
    axes[0].set_xlabel("frames (millions)")
    axes[1].set_xlabel("modelled seconds, a core each and 10 Gb/s Ethernet")
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(out)
