"""From a comparison to the files that show it."""

from dataclasses import replace
from pathlib import Path

from asr_parallel.record.files import write_text
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.figures import Plot, house_style, save, say_above
from asr_parallel.report.frontier import curves, diverged, scored, sets, summarise
from asr_parallel.report.learning_curve_figures import course_plots
from asr_parallel.report.page import page
from asr_parallel.report.paper import latex_table, results_markdown
from asr_parallel.report.speedup_figures import bytes_plot, efficiency_plot, wer_plot
from asr_parallel.report.tables import cells_csv, summary_csv
from asr_parallel.report.time_figures import time_plots

PAGE, VALUE = "report.html", "comparison.json"


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write all there is to see of a comparison; the same comparison gives the same files.

    Args:
        folder: gets report.html (one page that needs none of the others), comparison.json, cells.csv (a line for each
            training), summary.csv (means over seeds), RESULTS.md, table.tex, and plots/NAME.png and NAME.svg.

    Returns:
        The page.

    Raises:
        ValueError: a value of the comparison is not of the kind that it must be; nothing is written then.
    """
    comparison = comparison.checked()
    with house_style():
        plots = draw(comparison)
        html = page(comparison, plots)
        for plot in plots:
            save(plot, folder / "plots")
    comparison.save(folder / VALUE)
    write_text(folder / "cells.csv", cells_csv(comparison))
    write_text(folder / "summary.csv", summary_csv(comparison))
    write_text(folder / "RESULTS.md", results_markdown(comparison))
    write_text(folder / "table.tex", latex_table(comparison))
    write_text(folder / PAGE, html)
    return folder / PAGE


def draw(comparison: Comparison) -> list[Plot]:
    """All figures; to be called and written within house_style()."""
    groups = summarise(comparison)
    systems, name = curves(groups), next(iter(sets(comparison)), "eval")
    of = scored(comparison, sets(comparison)[:1])
    plots = [
        wer_plot(groups, systems, "speedup_frames", name, of),
        wer_plot(groups, systems, "speedup_loss", name, of),
        *course_plots(systems),
        efficiency_plot(systems),
        bytes_plot(systems),
        *time_plots(groups),
    ]
    if names := diverged(groups):
        plots = [_saying(plot, f"Diverged: {names}") for plot in plots]
    return [_saying(plot, "Synthetic speech") for plot in plots] if comparison.synthetic else plots


def _saying(plot: Plot, text: str) -> Plot:
    """The plot with these words in it and in its caption."""
    say_above(plot.figure, f"{text[0].lower()}{text[1:]}")
    return replace(plot, caption=f"{plot.caption} {text}.")
