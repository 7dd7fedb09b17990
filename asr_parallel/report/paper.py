"""A comparison as text: Markdown in the style of Kaldi's RESULTS files, and a LaTeX table."""

from collections.abc import Sequence
from typing import Any

from asr_parallel.report.comparison import Cell, Comparison, WordErrors
from asr_parallel.report.difference_tables import Rows, difference_note, difference_rows
from asr_parallel.report.differences import contestants
from asr_parallel.report.groups import Group, SeedMean, baseline, scored, scorers, sets, summarise
from asr_parallel.report.tables import LOSS, options_text, reached_text, seeds_text, warning_lines
from asr_parallel.report.target import target_rows, target_text
from asr_parallel.report.templates import NONE, environment, latex, markdown
from asr_parallel.report.tuning import HEADS


def results_markdown(comparison: Comparison) -> str:
    """Return RESULTS.md: WER by number of workers, means over seeds, failures, published figures, every training."""
    groups = summarise(comparison)
    compared, names = contestants(comparison, groups), sets(comparison)
    template = environment(markdown).get_template("results.md.j2")
    facts = comparison.hardware | comparison.versions
    return template.render(
        _common(comparison),
        facts="; ".join(f"{key} {value}" for key, value in facts.items() if value is not None),
        scorers=scorers(comparison),
        scored=scored(comparison, names),
        by_workers=_by_workers(comparison, groups),
        differences=difference_rows(compared, names, _mark(comparison)),
        difference_note=difference_note(comparison, compared),
        warnings=warning_lines(groups),
        facts_of=_facts_of,
        summary=_summary(comparison, groups),
        lonely=any(baseline(group, groups) is None for group in groups),
        failed=[[cell.name, cell.status, cell.error] for cell in comparison.cells if cell.status != "done"],
        published=[
            [p.who, p.source, str(p.workers), f"{p.speedup:g}", NONE if p.peak is None else f"{p.peak:g}"]
            for p in comparison.published
        ],
        counts=_counts,
        tuning_heads=HEADS,
        target=target_rows(comparison),
        target_text=target_text(comparison),
        options_text=options_text,
    )


def latex_table(comparison: Comparison) -> str:
    """Return a table for a paper; it needs the packages booktabs and, for quotation marks, fontenc with T1."""
    rows, groups = [], summarise(comparison)
    for group in groups:
        done = f"{len(group.done)} ({group.lost})" if group.lost and group.done else str(len(group.done))
        rows.append([group.system, str(group.workers), done, *_figures(group, _first_set(comparison))])
    compared = contestants(comparison, groups)
    return (
        environment(latex)
        .get_template("table.tex.j2")
        .render(
            _common(comparison),
            rows=rows,
            first=_first_set(comparison),
            differences=difference_rows(compared, [_first_set(comparison)])[1:],
            difference_note=difference_note(comparison, compared),
        )
    )


def clock_text(comparison: Comparison) -> str:
    """Return the inputs of the clock model in a sentence."""
    clock = comparison.clock
    if clock is None:
        return "No clock model."
    parts = [f"network {clock.network}"]
    parts += [] if clock.alpha is None else [f"alpha {clock.alpha:.3g} s"]
    parts += [] if clock.beta is None else [f"beta {clock.beta:.3g} bytes/s"]
    parts += [] if clock.step_seconds is None else [f"{clock.step_seconds:.4g} s a minibatch"]
    parts += [clock.how] if clock.how else []
    return f"Clock model: {', '.join(parts)}."


def _common(comparison: Comparison) -> dict[str, Any]:
    """Return the values that both templates use."""
    return {
        "comparison": comparison,
        "mark": _mark(comparison),
        "scored_first": scored(comparison, sets(comparison)[:1]),
        "clock": clock_text(comparison),
    }


def _mark(comparison: Comparison) -> str:
    return ", synthetic speech" if comparison.synthetic else ""


def _first_set(comparison: Comparison) -> str:
    return next(iter(sets(comparison)), "eval")


def _summary(comparison: Comparison, groups: Sequence[Group]) -> Rows:
    """Return heads and rows of a table with word errors and modelled speedups."""
    name, others = _first_set(comparison), sets(comparison)[1:]
    heads = ["system", "K", "seeds", *(f"{other} WER %" for other in others), f"{name} WER %", "95 %"]
    heads += ["p, one worker", "modelled speedup, same frames", "same loss (modelled)"]
    rows = [[*heads, "efficiency (modelled)", "held-out loss"]]
    for group in groups:
        loss, (wer, interval, *figures) = group.mean(lambda cell: cell.held_out_loss), _figures(group, name)
        row = [
            group.system + _mark(comparison),
            str(group.workers),
            seeds_text(group),
            *(_wer(group.wer(o)) for o in others),
        ]
        rows.append([*row, wer, interval, *figures, format(loss.value, LOSS) if loss else NONE])
    return rows


def _by_workers(comparison: Comparison, groups: Sequence[Group]) -> Rows:
    """Return heads and a row for each system, a column for each K: WER and speedup. Empty without WER."""
    if not sets(comparison):
        return []
    counts = sorted({group.workers for group in groups})
    rows: dict[str, dict[int, str]] = {}
    for group in groups:
        wer, speedup = group.wer(_first_set(comparison)), group.speedup("speedup_frames")
        if wer is None:
            shown = group.lost or NONE
        else:
            shown = f"{wer.value:.2f}"
            if speedup and not group.first.is_plain and group.same_frames:
                shown += f" ({speedup.value:.1f})"
            shown += f", {group.lost}" if group.lost else ""
        rows.setdefault(group.system, {})[group.workers] = shown
    heads = ["system", *(f"K = {k}" for k in counts)]
    return [heads, *([system, *(of.get(k, "") for k in counts)] for system, of in rows.items())]


def _figures(group: Group, name: str) -> list[str]:
    """Return WER, interval, p, speedups for the same frames and the same loss, efficiency."""
    interval, loss = group.interval(name), group.speedup("speedup_loss")
    frames, efficiency = group.speedup("speedup_frames"), group.mean(lambda cell: cell.efficiency)
    count, of = group.reached
    reached = f" ({reached_text(group)} reached)" if count < of else ""
    p_values = sorted({f"{e.p_value:.3f}" for e in group.errors(name) if e.p_value is not None})
    return [
        _wer(group.wer(name)) if group.done else group.lost,
        f"{interval[0]:.2f}{NONE}{interval[1]:.2f}" if interval else NONE,
        NONE.join(dict.fromkeys((p_values[0], p_values[-1]))).replace("0.000", "<0.001") if p_values else NONE,
        f"{frames.value:.2f}" if frames else NONE,
        f"{loss.value:.2f}{reached}" if loss else f"never{reached}" if of else NONE,
        f"{efficiency.value:.2f}" if efficiency else NONE,
    ]


def _wer(mean: SeedMean | None) -> str:
    if mean is None:
        return NONE
    return f"{mean.value:.2f}" + (f" ± {mean.deviation:.2f}" if mean.deviation is not None else "")


def _facts_of(cell: Cell) -> str:
    """Return how much each worker has trained, how often it synchronized, and what limits cut away; "": not known."""
    parts = [] if cell.frames_per_worker is None else [f"{cell.frames_per_worker:,.0f} frames a worker"]
    parts += [] if cell.syncs is None else [f"{cell.syncs:,.5g} synchronizations of a worker"]
    parts += [] if cell.cut_share is None else [f"limits cut away {100 * cell.cut_share:.1f} % of a step"]
    return ", ".join(parts)


def _counts(errors: WordErrors) -> str:
    """Return the counts of a line as Kaldi's best_wer has them."""
    kinds = f"{errors.insertions} ins, {errors.deletions} del, {errors.substitutions} sub"
    return f"[ {errors.errors} / {errors.words}, {kinds} ]"
