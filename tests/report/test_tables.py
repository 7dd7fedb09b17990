"""A comparison as CSV, Markdown and LaTeX: every value in its place, and no name that breaks them."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import made_up
import pytest

from asr_parallel.report.comparison import Comparison
from asr_parallel.report.csv_tables import cells_csv, summary_csv
from asr_parallel.report.difference_tables import difference_columns
from asr_parallel.report.differences import contestants
from asr_parallel.report.groups import sets, summarise
from asr_parallel.report.paper import latex_table, results_markdown
from asr_parallel.report.tables import identity_columns, result_columns, summary_columns
from asr_parallel.report.tables import time_columns as times
from asr_parallel.report.templates import latex


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_a_line_for_each_cell() -> None:
    comparison = made_up.comparison()
    rows = read(cells_csv(comparison))
    assert [row["cell"] for row in rows] == [cell.name for cell in comparison.cells]
    row, cell = rows[4], comparison.cells[4]
    assert cell.measured is not None and cell.modelled is not None
    assert cell.frames is not None
    for name, value in {
        "frames_per_worker": cell.frames / cell.workers, "syncs": 160 / cell.workers, "cut_share": 22.0,
        "workers": cell.workers, "seed": cell.seed, "eval_wer": cell.wer["eval"].wer, "dev_words": 1383,
        "eval_wer_low": cell.wer["eval"].low, "eval_deletions": cell.wer["eval"].deletions,
        "measured_seconds": cell.measured.seconds, "modelled_seconds": cell.modelled.seconds,
        "measured_exchange": cell.measured.exchange, "modelled_exchange": cell.modelled.exchange,
        "modelled_speedup_frames": cell.speedup_frames, "held_out_loss": cell.learning_curve[-1].loss,
        "bytes_per_worker": cell.bytes_per_worker,
    }.items():  # fmt: skip
        assert float(row[name]) == value, name
    assert row["eval_scorer"] == "asr-parallel hub5" and row["command"] == cell.command
    failed = next(row for row in rows if row["status"] == "failed")
    assert failed["error"] == "ValueError: worker 5: loss is not finite" and failed["eval_wer"] == ""


@pytest.mark.parametrize(("periods", "shown"), [((), 16), ((16, 16), "16"), ((16, 2384), "16 to 2384")])
def test_periods_that_grow_have_two_ends(periods: tuple[int, ...], shown: object) -> None:
    cell = replace(made_up.comparison().cells[4], period=16, periods=periods)
    column = next(column for column in identity_columns() if column.name == "period")
    assert column.value(cell) == shown


def test_means_over_seeds() -> None:
    comparison = made_up.comparison()
    groups = summarise(comparison)
    rows = read(summary_csv(comparison))
    assert [(row["system"], int(row["workers"])) for row in rows] == [(g.system, g.workers) for g in groups]
    wer = groups[1].wer("eval")
    assert wer is not None and float(rows[1]["eval_wer_mean"]) == wer.value
    assert float(rows[1]["eval_wer_deviation"]) == wer.deviation
    assert rows[1]["seeds"] == "3 of 3" and rows[1]["compared_with"] == "one worker, ng-sgd"
    assert rows[0]["frontier"] == "same frames, same loss" and rows[6]["frontier"] == ""
    never = next(row for row in rows if row["system"] == "elastic, ng-sgd" and row["workers"] == "8")
    assert never["modelled_speedup_loss_median"] == "" and never["loss_reached"] == "0 of 3"
    of = {one.group.name: one for one in contestants(comparison, groups)}
    difference = of[groups[1].name].wer["eval"]
    assert float(rows[1]["eval_difference_high"]) == difference.paired.interval()[1]
    assert (rows[1]["eval_difference_verdict"], rows[1]["seeds_in_common"]) == (difference.said, "3")
    assert rows[0]["eval_difference_verdict"] == rows[0]["eval_difference"] == rows[0]["loss_difference"] == ""


def test_no_two_columns_share_a_name_and_clocks_are_in_theirs() -> None:
    comparison = made_up.comparison()
    groups = summarise(comparison)
    for columns in (
        [*identity_columns(), *result_columns(comparison), *times(comparison)],
        summary_columns(comparison, groups) + difference_columns(contestants(comparison, groups)),
    ):
        for names in ([c.name for c in columns], [c.title for c in columns]):
            assert len(set(names)) == len(names)
        for column in columns:
            assert column.clock in column.name and column.clock in column.title
            speaks_of_time = re.search("second|speedup|efficiency", column.name) and not column.name.endswith("_seeds")
            assert bool(column.clock) >= bool(speaks_of_time), column.name


@pytest.mark.parametrize("make", [made_up.bare, made_up.hostile])
def test_what_is_unknown_or_hostile_is_still_csv(make: Callable[[], Comparison]) -> None:
    comparison = make()
    rows = read(cells_csv(comparison))
    assert [row["cell"] for row in rows] == [cell.name for cell in comparison.cells]
    assert all(None not in row and None not in row.values() for row in rows)


def test_markdown_has_the_command_and_the_line_of_every_training() -> None:
    comparison = made_up.comparison()
    text = results_markdown(comparison)
    cell = comparison.cells[4]
    errors = cell.wer["eval"]
    assert (
        "    " + cell.command.replace(" && ", " &&\n    ") + f"\n\n    %WER {cell.wer['dev'].wer:.2f}" in text
        and f"    %WER {errors.wer:.2f} [ {errors.errors} / 3058, {errors.insertions} ins, {errors.deletions} del,"
        f" {errors.substitutions} sub ] {cell.folder} eval   asr-parallel hub5   synthetic\n"
        in text
    )
    assert "    asr-parallel compare conf/compare.yaml --exp exp/swbd\n" in text
    assert "| ensemble\\_8\\_ng-sgd\\_s3 | failed | ValueError: worker 5: loss is not finite |" in text
    assert "| gradient\\_16\\_ng-sgd\\_s1 | missing |  |" in text
    assert "All trainings: channel\\_tilt 0.3, mask\\_filters 15." in text
    published = text[text.index("## Published by others") : text.index("## Every training")]
    assert "| Su and Chen | arXiv 1507.01239, abstract | 16 | 9.3 | – |" in published and text.count("| 9.3 |") == 1
    assert "Scored by asr-parallel hub5. Clock model: network 10 GbE, alpha 3e-05 s" in text
    assert all("synthetic" in line for line in text.splitlines() if "%WER" in line)


def test_markdown_has_word_error_rates_by_number_of_workers() -> None:
    comparison = made_up.comparison()
    text = results_markdown(comparison)
    lines = text[text.index("## By number of workers") : text.index("## Difference")].splitlines()
    table = [[word.strip() for word in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    heads, rows = table[0], {words[0]: words for words in table[2:]}
    groups = summarise(comparison)
    assert len(rows) == len({group.system for group in groups})
    for group in groups:
        shown, wer = rows[group.system][heads.index(f"K = {group.workers}")], group.wer("eval")
        assert shown.startswith(f"{wer.value:.2f}") if wer is not None else shown in ("diverged", "missing")
    assert "## By number of workers" not in results_markdown(made_up.bare())


def test_every_table_names_words_scorer_and_synthetic_speech() -> None:
    comparison = made_up.comparison()
    text = results_markdown(comparison)
    sections = ("## By number of workers", "## Difference", "## Means over seeds", "## Failed, diverged")
    for start, end in pairwise(sections):
        about = text[text.index(start) : text.index(end)].splitlines()[2]
        assert about.startswith("WER on eval of 3,058 words, ")
        assert "scored by asr-parallel hub5, synthetic speech" in about
    for rows in (read(cells_csv(comparison)), read(summary_csv(comparison))):
        assert all(row["speech"] == "synthetic" for row in rows)
    natural = replace(comparison, synthetic=False, corpus="Switchboard")
    assert "synthetic" not in results_markdown(natural) + cells_csv(natural) + summary_csv(natural)


@pytest.mark.parametrize("make", [made_up.comparison, made_up.bare, made_up.hostile])
def test_markdown_tables_are_whole(make: Callable[[], Comparison]) -> None:
    text = results_markdown(make())
    assert "\x1b" not in text and "<script" not in re.sub("(?m)^    .*", "", text)
    width = None
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert width is None or cells is None or cells == width, line
        width = cells


@pytest.mark.parametrize("make", [made_up.comparison, made_up.bare, made_up.hostile])
def test_latex_rows_are_whole(make: Callable[[], Comparison]) -> None:
    comparison = make()
    text, groups = latex_table(comparison), summarise(comparison)
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    differences = len(contestants(comparison, groups))
    separators = [len(re.findall(r"(?<!\\)&", row)) for row in rows]
    assert separators == [8] * (1 + len(groups)) + [6] * (1 + differences if differences else 0)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1 + bool(differences)
    if sets(comparison):
        wer = summarise(comparison)[0].wer("eval")
        assert wer is not None and f"{wer.value:.2f}" in rows[1]


def test_latex_is_escaped() -> None:
    assert latex("50% of $x_1 & {y}\\") == r"50\% of \$x\_1 \& \{y\}\textbackslash{}"
    assert latex("a\nb~c^d#") == r"a b\textasciitilde{}c\textasciicircum{}d\#"


def test_what_diverged_is_said_to_have_wherever_figures_would_be() -> None:
    comparison = made_up.comparison()
    rows = {(row["system"], row["workers"]): row for row in read(summary_csv(comparison))}
    row = rows["average, ng-sgd", "16"]
    assert row["seeds"] == "0 of 1 (diverged)" and row["eval_wer_mean"] == row["modelled_speedup_frames_mean"] == ""
    cell = next(row for row in read(cells_csv(comparison)) if row["cell"] == "average_16_ng-sgd_s1")
    assert (cell["status"], cell["error"], cell["modelled_efficiency"]) == ("diverged", made_up.DIVERGED, "")
    text = results_markdown(comparison)
    assert "| average\\_16\\_ng-sgd\\_s1 | diverged | training diverged: held-out loss 4e+32" in text
    assert "| average, ng-sgd, synthetic speech | 16 | 0 of 1 (diverged) | – | diverged | – |" in text
    assert "average, ng-sgd & 16 & 0 & diverged & --" in latex_table(comparison)
    # Some seeds: the mean of the others is not shown as if it were of all
    lost = replace(comparison.cells[5], status="diverged", wer={}, error="training diverged")
    cells = tuple(lost if cell.name == lost.name else cell for cell in comparison.cells)
    assert ", 1 of 3 diverged |" in results_markdown(replace(comparison, cells=cells))
    assert "2 (1 of 3 diverged)" in latex_table(replace(comparison, cells=cells))


def test_differences_are_rows_of_markdown_and_latex_that_say_what_they_decide() -> None:
    comparison = made_up.comparison()
    found = contestants(comparison, summarise(comparison))
    text, paper = results_markdown(comparison), latex_table(comparison)
    table = text[text.index("## Difference") : text.index("## Means")]
    assert len(re.findall(r"(?m)^\|", table)) == 2 + len(found)
    for one in found:
        low, high = one.wer["eval"].paired.interval()
        interval = f"{one.wer['eval'].paired.difference:+.2f} ({low:+.2f} to {high:+.2f})"
        assert f"| {interval} |" in table and f"& {interval} &" in paper
        assert f"| {one.wer['eval'].said} |" in table and f"& {one.wer['eval'].said} &" in paper
    for said in (table, paper):
        assert f"Holm's method for the {len(found)} systems" in said and "does not mean equal" in said
    assert "3 % of the single worker's WER" in results_markdown(replace(comparison, margin=3.0))
    assert "## Difference" not in results_markdown(made_up.bare())


def test_warnings_stand_under_the_means_and_figures_beside_every_training() -> None:
    comparison = made_up.comparison()
    text = results_markdown(comparison)
    means = text[text.index("## Means") : text.index("## Failed")]
    assert means.count("* elastic, ng-sgd, K = 8: 20 synchronizations of a worker, too few\n") == 1
    assert text.count("too few") == 1  # of three seeds
    cell = next(cell for cell in comparison.cells if cell.workers == 4)
    assert "    330,000 frames a worker, 40 synchronizations of a worker, limits cut away 22.0 % of a step\n" in text
    rows = {row["cell"]: row for row in read(cells_csv(comparison))}
    assert rows[cell.name]["warnings"] == ""
    assert sum("too few" in row["warnings"] for row in rows.values()) == 3
    assert "more data" not in results_markdown(made_up.bare())
