"""The files of a comparison's report."""

from dataclasses import replace
from pathlib import Path

from asr_parallel.record.files import write_text
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.csv_tables import cells_csv, summary_csv
from asr_parallel.report.difference_figure import difference_plot
from asr_parallel.report.differences import contestants
from asr_parallel.report.figures import Plot, house_style, note_above, save
from asr_parallel.report.groups import curves, diverged, scored, sets, summarise
from asr_parallel.report.learning_curve_figures import learning_curve_plots
from asr_parallel.report.page import page
from asr_parallel.report.paper import latex_table, results_markdown
from asr_parallel.report.speedup_figures import bytes_plot, efficiency_plot, target_plot, wer_plot
from asr_parallel.report.time_figures import time_plots
from asr_parallel.report.tuning import trials_csv

PAGE, VALUE = "report.html", "comparison.json"


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write the report of a comparison; the same comparison gives the same files.

    Args:
        comparison: what to report.
        folder: gets report.html (one page that needs no other file), comparison.json, cells.csv (a line for each
            training), summary.csv (means over seeds), trials.csv (of tuning), RESULTS.md, table.tex, and
            plots/NAME.png and NAME.svg.

    Returns:
        The page.

    Raises:
        ValueError: a value of the comparison has the wrong type; nothing is written then.
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
    if comparison.tuning:
        write_text(folder / "trials.csv", trials_csv(comparison.tuning))
    write_text(folder / "RESULTS.md", results_markdown(comparison))
    write_text(folder / "table.tex", latex_table(comparison))
    write_text(folder / PAGE, html)
    return folder / PAGE


def draw(comparison: Comparison) -> list[Plot]:
    """Return all figures; call it, and write them, within house_style()."""
    groups = summarise(comparison)
    systems, name = curves(groups), next(iter(sets(comparison)), "eval")
    of = scored(comparison, sets(comparison)[:1])
    plots = [
        difference_plot(contestants(comparison, groups), name, of, comparison.margin),
        *target_plot(systems, comparison),
        wer_plot(groups, systems, "speedup_frames", name, of),
        wer_plot(groups, systems, "speedup_loss", name, of),
        *learning_curve_plots(systems),
        efficiency_plot(systems),
        bytes_plot(systems),
        *time_plots(groups),
    ]
    if names := diverged(groups):
        plots = [_with_note(plot, f"Diverged: {names}") for plot in plots]
    return [_with_note(plot, "Synthetic speech") for plot in plots] if comparison.synthetic else plots


def _with_note(plot: Plot, text: str) -> Plot:
    """Return the plot with a note in it and in its caption."""
    note_above(plot.figure, f"{text[0].lower()}{text[1:]}")
    return replace(plot, caption=f"{plot.caption} {text}.")
