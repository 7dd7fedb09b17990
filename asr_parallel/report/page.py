"""The report of a comparison as one HTML page that needs no other file."""

from collections.abc import Sequence
from typing import get_args
from xml.etree import ElementTree

from markupsafe import Markup

from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.difference_tables import difference_columns, difference_note
from asr_parallel.report.differences import contestants
from asr_parallel.report.figures import Plot
from asr_parallel.report.groups import Group, Speedup, frontier, scored, scorers, sets, summarise
from asr_parallel.report.paper import clock_text
from asr_parallel.report.tables import (
    identity_columns,
    options_text,
    result_columns,
    summary_columns,
    time_columns,
    warning_lines,
)
from asr_parallel.report.target import target_rows, target_text
from asr_parallel.report.templates import environment, printable
from asr_parallel.report.tuning import HEADS

SECTIONS = {
    "target": "Speedup to the target",
    "difference": "Difference from one worker",
    "wer": "WER against speedup",
    "summary": "Means over seeds",
    "loss": "Held-out loss",
    "efficiency": "Efficiency and bytes sent",
    "time": "Where the time goes",
    "cells": "Every training",
    "tuning": "Tuning",
    "published": "Published by others",
    "made": "How this was made",
}
# Columns of summary.csv that the page leaves out
DETAILS = ("_seeds", "_words", "compared_with", "scorer", "loss_deviation", "frontier")


def page(comparison: Comparison, plots: Sequence[Plot]) -> str:
    """Return the whole page, with the figures in it."""
    groups, found = summarise(comparison), sets(comparison)
    best = [group for which in get_args(Speedup) for name in found[:1] for group in frontier(groups, which, name)]
    others = tuple(f"{name}_" for name in found[1:])
    summary = [c for c in summary_columns(comparison, groups) if not c.name.endswith(DETAILS)]
    compared = contestants(comparison, groups)
    results = [*identity_columns(), *result_columns(comparison)]
    synthetic = " Synthetic speech." if comparison.synthetic else ""

    def group_class(group: Group) -> str | None:
        return "frontier" if group in best else None

    def cell_class(cell: Cell) -> str | None:
        return None if cell.status == "done" else "failed"

    return environment().get_template("page.html.j2").render(
        comparison=comparison, plots={plot.name: plot for plot in plots}, groups=groups, tuning_heads=HEADS,
        sections=_sections(comparison), target=target_rows(comparison), target_text=target_text(comparison),
        inline_svg=inline_svg, options_text=options_text, group_class=group_class, cell_class=cell_class,
        scorers=scorers(comparison), scored=f"{scored(comparison, found)}.{synthetic}", synthetic=synthetic,
        clock=clock_text(comparison), warnings=warning_lines(groups),
        compared=[one.group for one in compared], difference_note=difference_note(comparison, compared),
        difference_columns=[*summary[:2], *difference_columns(compared)],
        summary_columns=[c for c in summary if c.name.endswith("_wer_mean") or not c.name.startswith(others)],
        result_columns=[c for c in results if not c.name.endswith("_scorer")],
        time_columns=[identity_columns()[0], *time_columns(comparison)],
    )  # fmt: skip


def _sections(comparison: Comparison) -> dict[str, str]:
    """Return the titles of the sections that there are, by name."""
    absent = {"tuning": comparison.tuning is None, "target": comparison.target is None}
    return {name: title for name, title in SECTIONS.items() if not absent.get(name)}


def inline_svg(plot: Plot) -> Markup:
    """Return a figure for use inside HTML: no namespaces, no style, unique ids, tips as titles."""
    root = ElementTree.fromstring(plot.svg)
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = _local(node.tag)
        attributes = {_local(name): value for name, value in node.attrib.items()}
        node.attrib.clear()
        for name, value in attributes.items():
            node.set(name, _unique_id(name, value, plot.name))
        tip = plot.tips.get(attributes.get("id", ""))
        if tip is not None:
            title = ElementTree.Element("title")
            title.text = printable(tip)
            node.insert(0, title)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", printable(plot.alt))
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _unique_id(name: str, value: str, prefix: str) -> str:
    """Return an attribute's value; an id, or a reference to one, gets the figure's name in front."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}-")
