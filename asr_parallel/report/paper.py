"""A comparison as text: Markdown in the manner of Kaldi's RESULTS files, and a LaTeX table."""

from collections.abc import Iterable, Sequence

from asr_parallel.report.comparison import Cell, Comparison
from asr_parallel.report.figures import printable
from asr_parallel.report.frontier import Group, Mean, baseline, scored, scorers, sets, summarise
from asr_parallel.report.tables import LOSS, held_out_loss, options_text, reached_text, seeds_text

NONE = "–"
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "\N{REPLACEMENT CHARACTER}": "?",
}  # fmt: skip


def results_markdown(comparison: Comparison) -> str:
    """Means over seeds, by number of workers and at length; what failed, what others published; every training."""
    groups = summarise(comparison)
    lines = [
        f"# {_markdown(comparison.title)}",
        "",
        f"{_markdown(comparison.corpus)}{_mark(comparison)}. {_markdown(_made(comparison))}",
    ]
    lines += [f"Scored by {_markdown(scorers(comparison))}. {_markdown(clock_text(comparison))}", ""]
    lines += [f"All trainings: {_markdown(options_text(comparison.options))}.", ""] if comparison.options else []
    lines += _code(comparison.commands)
    if of_all := _by_workers(comparison, groups):
        lines += ["## By number of workers", "", *of_all, ""]
    lines += ["## Means over seeds", "", *_summary(comparison, groups), ""]
    failed = [cell for cell in comparison.cells if cell.status != "done"]
    if failed:
        lines += ["## Failed, diverged and missing", "", "| cell | status | last log line |", "|---|---|---|"]
        lines += [_row(cell.name, cell.status, cell.error) for cell in failed]
        lines += [""]
    if comparison.published:
        lines += ["## Published by others, on other data and machines", ""]
        lines += ["| who | source | workers | published speedup | published peak |", "|---|---|--:|--:|--:|"]
        lines += [
            _row(p.who, p.source, str(p.workers), f"{p.speedup:g}", NONE if p.peak is None else f"{p.peak:g}")
            for p in comparison.published
        ]
        lines += [""]
    lines += ["## Every training", ""]
    for cell in comparison.cells:
        lines += _code(cell.command_lines or [f"# {cell.name}: no command"])
        lines += [f"    options: {printable(options_text(cell.options))}"] if cell.options else []
        lines += [f"    {line}" for line in _results(cell, comparison.synthetic)]
        lines += [""]
    return "\n".join(lines)


def latex_table(comparison: Comparison) -> str:
    """A table for a paper; it needs the packages booktabs and, for quotation marks, fontenc with T1."""
    groups, found = summarise(comparison), sets(comparison)
    name = found[0] if found else "eval"
    caption = (
        f"{comparison.title} ({comparison.corpus}{_mark(comparison)}). {scored(comparison, found[:1])}: mean and"
        " deviation over n seeds, 95 % interval by bootstrap over speakers and seeds. p: matched pairs of two decodes,"
        " one worker's and this one's of the same seed; it says nothing of other seeds. All speedups are modelled,"
        f" those for the same loss medians over seeds: {clock_text(comparison)}"
    )
    lines = [
        r"% \usepackage{booktabs} \usepackage[T1]{fontenc}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(caption)}}}",
        r"\begin{tabular}{lrrrrrrrr}",
        r"\toprule",
        r"& & & \multicolumn{3}{c}{WER (\%)} & \multicolumn{3}{c}{modelled} \\",
        r"\cmidrule(lr){4-6}\cmidrule(lr){7-9}",
        r"system & $K$ & $n$ & mean $\pm$ dev. & 95\,\% & $p$ & same frames & same loss & efficiency \\",
        r"\midrule",
    ]
    for group in groups:
        done = f"{len(group.done)} ({group.lost})" if group.lost and group.done else str(len(group.done))
        cells = [group.system, str(group.workers), done, *_figures(group, name)]
        lines.append(" & ".join(latex(text).replace("±", r"$\pm$") for text in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def latex(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(LATEX.get(letter, letter) for letter in printable(text)).replace(NONE, "--")


def clock_text(comparison: Comparison) -> str:
    """What modelled seconds come from, in a sentence."""
    clock = comparison.clock
    if clock is None:
        return "No clock model."
    parts = [f"network {clock.network}"]
    parts += [] if clock.alpha is None else [f"alpha {clock.alpha:.3g} s"]
    parts += [] if clock.beta is None else [f"beta {clock.beta:.3g} bytes/s"]
    parts += [] if clock.step_seconds is None else [f"{clock.step_seconds:.4g} s a minibatch"]
    parts += [clock.how] if clock.how else []
    return f"Clock model: {', '.join(parts)}."


def _summary(comparison: Comparison, groups: Sequence[Group]) -> Iterable[str]:
    """One table with word errors and modelled speedups; all speedups are named as modelled."""
    found = sets(comparison)
    name, others = (found[0], found[1:]) if found else ("eval", [])
    mark = _mark(comparison)
    yield f"{_markdown(scored(comparison, found))}{mark}."
    yield ""
    heads = ["system", "K", "seeds", *(f"{other} WER %" for other in others), f"{name} WER %", "95 %"]
    heads += ["less one worker's", "p, one worker", "modelled speedup, same frames", "same loss (modelled)"]
    heads += ["efficiency (modelled)", "held-out loss"]
    yield _row(*heads)
    yield "|---|" + "--:|" * (len(heads) - 1)
    for group in groups:
        loss, (wer, interval, *figures) = group.mean(held_out_loss), _figures(group, name)
        cells = [group.system + mark, str(group.workers), seeds_text(group), *(_wer(group.wer(o)) for o in others)]
        cells += [wer, interval, _difference(group, groups, name), *figures]
        yield _row(*cells, format(loss.mean, LOSS) if loss else NONE)
    yield ""
    yield (
        "95 %: by bootstrap over speakers, and over seeds where there are several; of one seed it knows nothing of"
        " others. Less one worker's: mean difference over seeds and its interval, speakers and seeds paired. p: of"
        " MAPSSWE, of two decodes each; the extremes of the seeds. It says whether these two decodes differ, not"
        " whether two ways to train do. Same loss: the median over seeds, where never is infinite time."
    )
    if any(baseline(group, groups) is None for group in groups):
        yield ""
        yield "Some optimiser has no one-worker training: there is nothing to compare its systems with."


def _by_workers(comparison: Comparison, groups: Sequence[Group]) -> list[str]:
    """A row for each system, a column for each K: WER, and in parentheses the speedup. Empty without WER."""
    if not sets(comparison):
        return []
    name, counts = sets(comparison)[0], sorted({group.workers for group in groups})
    about = (
        f"{_markdown(scored(comparison, [name]))}{_mark(comparison)}: per cent, mean over seeds; in parentheses the"
        " modelled speedup for the same frames, where there were as many."
    )
    lines = [about, "", _row("system", *(f"K = {k}" for k in counts)), "|---|" + "--:|" * len(counts)]
    rows: dict[str, dict[int, str]] = {}
    for group in groups:
        wer, speedup = group.wer(name), group.speedup("speedup_frames")
        if wer is not None:
            shown = f"{wer.mean:.2f}"
            if speedup and group.workers > 1 and group.same_frames:
                shown += f" ({speedup.mean:.1f})"
            shown += f", {group.lost}" if group.lost else ""
        else:
            shown = group.lost or NONE
        rows.setdefault(group.system, {})[group.workers] = shown
    return [*lines, *(_row(system, *(of.get(k, "") for k in counts)) for system, of in rows.items())]


def _figures(group: Group, name: str) -> list[str]:
    """WER, interval, p, speedups for the same frames and the same loss, efficiency."""
    interval, loss = group.interval(name), group.speedup("speedup_loss")
    frames, efficiency = group.speedup("speedup_frames"), group.mean(lambda cell: cell.efficiency)
    count, of = group.reached
    reached = f" ({reached_text(group)} reached)" if count < of else ""
    return [
        _wer(group.wer(name)) if group.done else group.lost,
        f"{interval[0]:.2f}{NONE}{interval[1]:.2f}" if interval else NONE,
        _p_values(group, name),
        f"{frames.mean:.2f}" if frames else NONE,
        f"{loss.mean:.2f}{reached}" if loss else f"never{reached}" if of else NONE,
        f"{efficiency.mean:.2f}" if efficiency else NONE,
    ]


def _difference(group: Group, groups: Sequence[Group], name: str) -> str:
    base = baseline(group, groups)
    found = group.difference(base, name) if base else None
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*found) if found else NONE


def _p_values(group: Group, name: str) -> str:
    """The least and the largest of the seeds' p values on a set."""
    known = sorted({f"{e.p_value:.3f}" for e in group.errors(name) if e.p_value is not None})
    return NONE.join(known if len(known) < 2 else (known[0], known[-1])).replace("0.000", "<0.001") or NONE


def _wer(mean: Mean | None) -> str:
    if mean is None:
        return NONE
    return f"{mean.mean:.2f}" + (f" ± {mean.deviation:.2f}" if mean.deviation is not None else "")


def _results(cell: Cell, synthetic: bool) -> Iterable[str]:
    """Lines as Kaldi's best_wer has them."""
    mark = "   synthetic" if synthetic else ""
    if cell.status != "done":
        yield f"{cell.status}: {printable(cell.error)}" if cell.error else cell.status
    for name, errors in sorted(cell.wer.items()):
        counts = f"{errors.insertions} ins, {errors.deletions} del, {errors.substitutions} sub"
        scorer = f"   {printable(errors.scorer)}" if errors.scorer else ""
        where = printable(cell.folder or cell.name)
        yield f"%WER {errors.wer:.2f} [ {errors.errors} / {errors.words}, {counts} ] {where} {name}{scorer}{mark}"


def _mark(comparison: Comparison) -> str:
    return ", synthetic speech" if comparison.synthetic else ""


def _made(comparison: Comparison) -> str:
    facts = comparison.hardware | comparison.versions
    return "; ".join(f"{key} {value}" for key, value in facts.items() if value is not None) + f". {comparison.created}."


def _code(commands: Iterable[str]) -> list[str]:
    lines = [f"    {printable(command)}" for command in commands]
    return [*lines, ""] if lines else []


def _row(*texts: str) -> str:
    return f"| {' | '.join(_markdown(text) for text in texts)} |"


def _markdown(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in text)
