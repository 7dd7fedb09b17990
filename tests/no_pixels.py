"""Pictures without pixels, which take longer than most of the tests' trainings: figures are made, and not drawn as PNG.

Processes that fast_start forks draw none either; those that really start draw them all.
"""

from pathlib import Path

from matplotlib.figure import Figure

from asr_parallel.pretraining import rbm_plots
from asr_parallel.record.files import atomic_file
from asr_parallel.report import figures
from asr_parallel.training import curves

_save_png = curves.save_png


def leave_out_pixels() -> None:
    curves.save_png = rbm_plots.save_png = figures.save_png = _save_nothing


def draw_pixels() -> None:
    curves.save_png = rbm_plots.save_png = figures.save_png = _save_png


def _save_nothing(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temp:
        temp.write_bytes(b"")
