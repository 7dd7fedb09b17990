"""The report as one HTML page that needs nothing beside itself."""

from collections.abc import Callable, Sequence
from importlib.resources import files

from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.figures import Plot
from asr_parallel.report.frontier import Group, frontier, scored, scorers, sets, summarise
from asr_parallel.report.html import Child, Html, element, inline_svg, joined
from asr_parallel.report.paper import clock_text
from asr_parallel.report.tables import (
    Column,
    identity_columns,
    options_text,
    result_columns,
    summary_columns,
    time_columns,
)

TEXTS = {"cell", "algorithm", "optimizer", "label", "status", "system", "seeds"}
TERMS = {
    "Speedup, same frames": "time of one worker over time of K workers for the same number of frames, same optimiser.",
    "Speedup, same loss": "the same, until the one-worker model's held-out loss is reached; of several seeds the"
    " median, where never counts as infinite time. Empty where most seeds never came to it.",
    "Efficiency": "speedup for the same frames, divided by K.",
    "Peak speedup": "the largest over parts of the training; the two above are averages over all of it.",
    "95 % interval": "of WER, by bootstrap over speakers, and over seeds where there are several. Of one seed it knows"
    " nothing of others.",
    "Difference": "of WER from the one worker's, mean over seeds, with its interval; speakers and seeds are paired.",
    "p": "of the matched-pairs test (MAPSSWE) against the one-worker model; of several seeds the extremes. It says"
    " whether these two decodes differ, not whether two ways to train do.",
    "Diverged": "the held-out loss came to be far above the untrained network's, or was not finite. Such a training has"
    " no figures, is in no mean, and nothing is compared with it.",
    "Frontier": "nothing else is at least as fast and has at most as many errors.",
}


def page(comparison: Comparison, plots: Sequence[Plot]) -> str:
    """The whole page, with the figures in it."""
    groups = summarise(comparison)
    by_name = {plot.name: plot for plot in plots}
    sections: list[tuple[str, str, list[Child]]] = [
        ("wer", "WER against speedup", [_figures(by_name, "wer_speedup_frames", "wer_speedup_loss")]),
        ("summary", "Means over seeds", [_summary(comparison, groups)]),
        ("loss", "Held-out loss", [_figures(by_name, "loss_frames", "loss_modelled", "loss_measured")]),
        ("efficiency", "Efficiency and bytes sent", [_figures(by_name, "efficiency", "bytes")]),
        ("time", "Where the time goes", [_figures(by_name, "time_modelled", "time_measured"), _times(comparison)]),
        ("cells", "Every training", [_failed(comparison), _results(comparison)]),
        ("published", "Published by others", [_published(comparison)]),
        ("made", "How this was made", _made(comparison)),
    ]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections]
    body = [
        element("a", "Skip to the results", class_="skip", href="#main"),
        element("header", *_head(comparison), element("nav", element("ul", links), aria_label="Sections")),
        element("main", _legend(), *(_section(*section) for section in sections), id="main"),
        element("script", Html(_part("page.js"))),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", comparison.title or "Comparison"),
        element("style", Html(_part("page.css"))),
    ]
    return f"<!DOCTYPE html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"


def _part(name: str) -> str:
    return files("asr_parallel.report").joinpath(name).read_text(encoding="utf-8")


def _section(name: str, title: str, content: Sequence[Child]) -> Html:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def _head(comparison: Comparison) -> list[Html]:
    mark = [" ", element("span", "synthetic speech", class_="mark")] if comparison.synthetic else []
    return [
        element("h1", comparison.title or "Comparison"),
        element("p", comparison.corpus, *mark),
        element("p", f"Scored by {scorers(comparison)}. Written {comparison.created or 'at an unknown time'}."),
    ]


def _legend() -> Html:
    """What the colours are, and what the words mean."""
    measured = element("strong", "measured", class_="measured")
    modelled = element("strong", "modelled", class_="modelled")
    swatch = {name: element("span", class_=f"swatch {name}") for name in ("measured", "modelled")}
    terms = [joined([element("dt", term), element("dd", text)]) for term, text in TERMS.items()]
    clocks = element(
        "ul",
        element("li", swatch["measured"], " ", measured, ", blue and solid: wall time of the very training. Where its"
                " workers were replicas on one device, that is the time of that device and says nothing of a speedup."),
        element("li", swatch["modelled"], " ", modelled, ", orange and hatched: what the clock model says. All speedups"
                " and efficiencies on this page are modelled."),
    )  # fmt: skip
    title = element("h2", "How to read it", id="legend-title")
    return element("section", title, clocks, element("dl", terms), id="legend", aria_labelledby="legend-title")


def _figures(plots: dict[str, Plot], *names: str) -> Html:
    drawn = []
    for name in names:
        if plot := plots.get(name):
            caption = element("figcaption", element("strong", f"{plot.title}."), " ", plot.caption)
            drawn.append(element("figure", inline_svg(plot), caption))
    return element("div", drawn, class_="plots")


def _summary(comparison: Comparison, groups: Sequence[Group]) -> Html:
    found = sets(comparison)
    columns = [c for c in summary_columns(comparison, groups) if not _is_detail(c.name, found[1:])]
    best = (
        {id(g) for which in ("speedup_frames", "speedup_loss") for g in frontier(groups, which, found[0])}
        if found
        else ()
    )
    caption = (
        f"{_scored(comparison)} ○: on the frontier, which counts a speedup for the same loss only where all seeds"
        " came to it."
    )
    return _table("Means over seeds", caption, columns, groups, lambda g: "frontier" if id(g) in best else None)


def _is_detail(name: str, other_sets: Sequence[str]) -> bool:
    """Whether a column is left to summary.csv."""
    is_other = name.startswith(tuple(f"{other}_" for other in other_sets)) and not name.endswith("_wer_mean")
    return is_other or name.endswith(("_seeds", "_words", "compared_with", "scorer", "loss_deviation", "frontier"))


def _scored(comparison: Comparison) -> str:
    """Who scored, how many words, and of what speech."""
    return f"{scored(comparison, sets(comparison))}.{_mark(comparison)}"


def _mark(comparison: Comparison) -> str:
    return " Synthetic speech." if comparison.synthetic else ""


def _results(comparison: Comparison) -> Html:
    columns = [c for c in (*identity_columns(), *result_columns(comparison)) if not c.name.endswith("_scorer")]
    caption = f"What came of every training. {_scored(comparison)}"
    return _table("Every training", caption, columns, comparison.cells, _state)


def _times(comparison: Comparison) -> Html:
    columns = [*identity_columns()[:1], *time_columns()]
    caption = f"Seconds of every training by the two clocks.{_mark(comparison)}"
    return _table("Time", caption, columns, comparison.cells, _state)


def _state(cell: Cell) -> str | None:
    return None if cell.status == "done" else "failed"


def _table(
    title: str, caption: str, columns: Sequence[Column], rows: Sequence, kind: Callable[..., str | None]
) -> Html:
    heads = [element("th", c.title, scope="col", class_=_class(c)) for c in columns]
    body = []
    for row in rows:
        cells = [element("th", columns[0].show(row), scope="row")]
        cells += [_cell(column, row) for column in columns[1:]]
        body.append(element("tr", cells, class_=kind(row)))
    about = element("caption", element("span", element("strong", f"{title}."), " ", caption, " Headings sort."))
    table = element("table", about, element("thead", element("tr", heads)), element("tbody", body), class_="sortable")
    return element("div", table, class_="scroll", role="region", aria_label=f"Table: {title}", tabindex="0")


def _cell(column: Column, row: Cell | Group) -> Html:
    value = column.value(row)
    exact = str(value) if isinstance(value, int | float) else None
    return element("td", column.show(row), class_=_class(column), data_value=exact)


def _class(column: Column) -> str | None:
    return column.clock or ("text" if column.name in TEXTS else None)


def _failed(comparison: Comparison) -> Html:
    bad = [cell for cell in comparison.cells if cell.status != "done"]
    if not bad:
        return element("p", "All trainings are done.")
    rows = [
        element("tr", element("th", cell.name, scope="row"), element("td", cell.status, class_="text bad"),
                element("td", element("code", cell.error or "no log"), class_="text"))
        for cell in bad
    ]  # fmt: skip
    heads = [element("th", text, scope="col", class_="text") for text in ("cell", "status", "last log line")]
    about = element(
        "caption", element("span", element("strong", "Failed, diverged and missing."), " The others went on.")
    )
    table = element("table", about, element("thead", element("tr", heads)), element("tbody", rows))
    return element(
        "div", table, class_="scroll", role="region", aria_label="Table: failed, diverged and missing", tabindex="0"
    )


def _published(comparison: Comparison) -> Html:
    if not comparison.published:
        return element("p", "None are cited.")
    names = {"who": "text", "source": "text", "workers": None, "published speedup": None, "published peak": None}
    heads = [element("th", text, scope="col", class_=kind) for text, kind in names.items()]
    rows = [
        element("tr", element("th", p.who, scope="row"), element("td", p.source, class_="text"),
                element("td", str(p.workers)), element("td", f"{p.speedup:g}"),
                element("td", "–" if p.peak is None else f"{p.peak:g}"))
        for p in comparison.published
    ]  # fmt: skip
    about = (
        "Speedups that others printed, for their data, networks and machines. None of them was made or checked here."
    )
    caption = element("caption", element("span", element("strong", "Not ours."), " ", about))
    table = element("table", caption, element("thead", element("tr", heads)), element("tbody", rows))
    return element("div", table, class_="scroll", role="region", aria_label="Table: published by others", tabindex="0")


def _made(comparison: Comparison) -> list[Child]:
    seeds = sorted({cell.seed for cell in comparison.cells})
    commands = [
        element(
            "details",
            element("summary", cell.name),
            _commands(cell.command_lines or ["none recorded"]),
            element("p", f"Options: {options_text(cell.options)}.") if cell.options else [],
        )
        for cell in comparison.cells
    ]
    return [
        element("h3", "Machine"), _facts(comparison.hardware),
        element("h3", "Versions"), _facts(comparison.versions),
        element("h3", "Clock model", class_="modelled"), element("p", clock_text(comparison)),
        element("h3", "Seeds"), element("p", ", ".join(map(str, seeds))),
        element("h3", "Options of all trainings"), _facts(comparison.options),
        element("h3", "Commands"), [element("pre", _command(command)) for command in comparison.commands],
        element("h3", "Commands of every training"), element("div", commands, class_="commands"),
    ]  # fmt: skip


def _commands(lines: Sequence[str]) -> list[Html]:
    return [element("div", _command(line)) for line in lines]


def _command(text: str) -> Html:
    """Broken between its words alone, not at the dashes of its options."""
    words = [word for part in text.split() for word in (" ", element("span", part))]
    return element("code", words[1:])


def _facts(facts: dict) -> Html:
    known = [
        joined([element("dt", key), element("dd", "none" if value is None else str(value))])
        for key, value in facts.items()
    ]
    return element("dl", known) if known else element("p", "Not recorded.")
