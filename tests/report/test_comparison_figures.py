"""What the figures of a comparison show."""

from collections.abc import Iterator
from dataclasses import replace

import made_up
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from asr_parallel.report.comparison import WordErrors
from asr_parallel.report.figures import COLOURS, MEASURED, MODELLED, Plot, fit, house_style, systems_style
from asr_parallel.report.groups import Curve, curves, summarise
from asr_parallel.report.learning_curve_figures import learning_curve_plots
from asr_parallel.report.speedup_figures import bytes_plot, efficiency_plot, wer_plot
from asr_parallel.report.templates import printable
from asr_parallel.report.time_figures import CLOCKS, time_plots
from asr_parallel.report.write_report import draw

GROUPS = summarise(made_up.comparison())
CURVES = curves(GROUPS)
SCORER = "asr-parallel, hub5 rules"
SCORED = ("wer", "difference")  # figures of word error rates


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with house_style():
        yield


def test_a_point_for_each_group_with_its_speedup_and_wer() -> None:
    plot = wer_plot(GROUPS, CURVES, "speedup_frames", "eval", "us")
    axes = plot.figure.axes[0]
    points = {tuple(line.get_xydata()[0]) for line in axes.lines if (line.get_gid() or "").startswith("tip")}
    assert points == {group.point("speedup_frames", "eval") for group in GROUPS if group.done}
    assert axes.get_xlabel() == "speedup, same frames (modelled)" and axes.xaxis.label.get_color() == MODELLED
    assert axes.get_ylabel() == "eval WER (%)"
    average = next(group for group in GROUPS if group.name == "average, ng-sgd, K = 4")
    bars = [tuple(line.get_ydata()) for line in axes.lines if line.get_marker() == "_"]
    assert average.interval("eval") in bars
    assert len(plot.tips) == len(points) and any(
        tip.startswith("average, ng-sgd, K = 4: ") for tip in plot.tips.values()
    )


@pytest.fixture(scope="module")
def plots() -> list[Plot]:
    with house_style():
        return draw(made_up.comparison())


def test_every_figure_names_what_diverged(plots: list[Plot]) -> None:
    for plot in plots:
        assert "diverged: average, ng-sgd, K = 16" in plot.figure.get_suptitle().replace("\n", " ")
        assert "Diverged: average, ng-sgd, K = 16." in plot.caption


def test_what_never_reached_the_loss_is_named() -> None:
    plot = wer_plot(GROUPS, CURVES, "speedup_loss", "eval", "us")
    # Not what has failed or was never run, as gradient with 16
    assert plot.caption.endswith(": average, ng-sgd, K = 8; elastic, ng-sgd, K = 4, 8; average, sgd, K = 4.")


def test_only_what_is_drawn_is_in_the_legend() -> None:
    plot = wer_plot(GROUPS, CURVES, "speedup_loss", "eval", "us")
    drawn = {c.system for c in CURVES if any(g.workers > 1 and g.point("speedup_loss", "eval") for g in c.groups)}
    assert drawn < {curve.system for curve in CURVES}
    (legend,) = plot.figure.legends
    assert {text.get_text().strip() for text in legend.get_texts()} == drawn | {"one worker", "frontier"}


def test_one_that_fails_does_not_flatten_the_others() -> None:
    def y_scale(worst: float) -> str:
        errors = WordErrors(1000, worst, 10, 0, 0)
        cells = [
            replace(c, wer={"eval": errors}) if c.workers == 8 and c.status == "done" else c
            for c in made_up.comparison().cells
        ]
        groups = summarise(replace(made_up.comparison(), cells=tuple(cells)))
        return wer_plot(groups, curves(groups), "speedup_frames", "eval", "us").figure.axes[0].get_yscale()

    assert (y_scale(20.0), y_scale(97.0)) == ("linear", "log")


def test_figures_say_what_they_are_of_wherever_they_are_copied_to(plots: list[Plot]) -> None:
    for plot in plots:
        said = plot.figure.get_suptitle().splitlines()
        assert said.pop() == "synthetic speech" and b">synthetic speech</text>" in plot.svg
        assert said.pop() == "diverged: average, ng-sgd, K = 16"
        assert said == (
            ["WER on eval of 3,058 words, scored by asr-parallel hub5"] if plot.name.startswith(SCORED) else []
        )
    for plot in draw(replace(made_up.comparison(), synthetic=False)):
        assert "synthetic" not in plot.figure.get_suptitle() and b"ynthetic" not in plot.svg


@pytest.mark.parametrize("scorer", [SCORER, "W" * 400, made_up.HOSTILE * 3])
def test_what_is_said_above_is_whole_and_touches_nothing(scorer: str) -> None:
    comparison = made_up.comparison()
    errors = [{name: replace(of, scorer=scorer) for name, of in cell.wer.items()} for cell in comparison.cells]
    cells = tuple(replace(cell, wer=wer) for cell, wer in zip(comparison.cells, errors, strict=True))
    for plot in draw(replace(comparison, cells=cells)):
        if scorer != SCORER and not plot.name.startswith(SCORED):
            continue  # it names no scorer
        figure = plot.figure
        FigureCanvasAgg(figure).draw()
        (title,) = (text for text in figure.texts if "synthetic speech" in text.get_text())
        box = title.get_window_extent()
        assert box.x0 >= 0 and box.y1 <= figure.bbox.y1
        assert box.x1 <= figure.bbox.x1 or "WWW" in scorer  # as wide as no name is
        assert max(axes.get_tightbbox().y1 for axes in figure.axes) <= box.y0, plot.name


def test_efficiency_and_bytes() -> None:
    plot = efficiency_plot(CURVES)
    assert "(modelled" in plot.figure.axes[0].get_ylabel()
    assert "average, ng-sgd, K = 2: 97 %" in plot.tips.values()
    plot = bytes_plot(CURVES)
    assert not any(tip.startswith("one worker") for tip in plot.tips.values())  # sends nothing
    assert plot.figure.axes[0].get_yscale() == "log"


def test_learning_curves_are_drawn_for_every_seed_against_frames_and_both_clocks() -> None:
    frames, modelled, measured = learning_curve_plots(CURVES)
    first = frames.figure.axes[0]
    assert first.get_title(loc="left") == "average, ng-sgd" and len(first.lines) == 4 * 3
    bottom = [plot.figure.axes[len(CURVES) - 1].xaxis.label for plot in (frames, modelled, measured)]
    assert [label.get_text() for label in bottom] == ["frames of all workers", "modelled seconds", "measured seconds"]
    assert [label.get_color() for label in bottom[1:]] == [MODELLED, MEASURED]


def test_bars_are_shares_and_the_clocks_look_different() -> None:
    for plot, clock in zip(time_plots(GROUPS), CLOCKS, strict=True):
        widths: dict[float, float] = {}
        for bar in plot.figure.axes[0].patches:
            widths[round(bar.get_y(), 3)] = widths.get(round(bar.get_y(), 3), 0) + bar.get_width()
            assert bool(bar.get_hatch()) == (clock.name == "modelled")
        assert len(widths) == sum(1 for group in GROUPS if group.done)
        assert all(width == pytest.approx(100) for width in widths.values())
    assert not set(CLOCKS[0].fills) & set(CLOCKS[1].fills) and not {MEASURED, MODELLED} & set(COLOURS)


def test_nothing_known_is_said() -> None:
    groups = summarise(made_up.bare())
    plot = wer_plot(groups, curves(groups), "speedup_loss", "eval", "us")
    assert [text.get_text() for text in plot.figure.texts] == ["us", "no group has both"]
    assert all("not known" in plot.alt.lower() for plot in (*learning_curve_plots(curves(groups)), *time_plots(groups)))


def test_names_are_cut_and_cleaned() -> None:
    assert fit("abcdef", 4) == "abc…" and fit("abc", 4) == "abc"
    assert printable("a\x1b[31m\tb\nc") == "a\N{REPLACEMENT CHARACTER}[31m b c"


def test_no_two_systems_look_alike() -> None:
    many = [Curve(f"{algorithm} {n}", algorithm, ()) for algorithm in "abcdefgh" for n in range(8)]
    looks = [(s["marker"], s["linestyle"], s["fillstyle"]) for s in systems_style(many).values()]
    assert len(set(looks)) == len(many)
