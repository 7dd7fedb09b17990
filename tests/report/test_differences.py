"""Differences of a comparison's systems from the single worker, and what is said of them."""

import random
from dataclasses import replace

import made_up
import numpy as np
import pytest
from small_cells import compare, of_speakers, point

from asr_parallel.decode.paired_difference import wer_difference
from asr_parallel.report.comparison import Cell, Evaluation
from asr_parallel.report.difference_figure import difference_plot
from asr_parallel.report.differences import Contestant, contestants
from asr_parallel.report.figures import house_style
from asr_parallel.report.groups import summarise

SPEAKERS = np.random.default_rng(1).integers(10, 30, 20)


def training(name: str, workers: int, seed: int, more: float, loss: float | None = None) -> Cell:
    """More errors than SPEAKERS, of 100 words each, and one more or less by chance."""
    chance = random.Random(f"{name} {workers} {seed}")
    cell = of_speakers(name, workers, seed, [int(n + more) + chance.randint(-1, 1) for n in SPEAKERS])
    return cell if loss is None else replace(cell, learning_curve=(Evaluation(1, loss),))


def found(*cells: Cell, margin: float = 2.0) -> dict[str, Contestant]:
    comparison = replace(compare(*cells), margin=margin)
    return {one.group.name: one for one in contestants(comparison, summarise(comparison))}


BASE = [training("n", 1, seed, 0.0, 1.0 + 0.01 * seed) for seed in (1, 2, 3)]


def test_trainings_are_paired_by_seed() -> None:
    own = [training("a", 2, seed, 2.0, 1.1 + 0.01 * seed) for seed in (3, 2, 5)]
    one = found(*BASE, *own)["a, K = 2"]
    assert one.base.first.workers == 1 and one.seeds == 2 and one.loss is not None
    counts = [
        np.array([[cell.wer["eval"].per_speaker[name] for name in sorted(cell.wer["eval"].per_speaker)] for cell in of])
        for of in ([own[0], own[1]], [BASE[2], BASE[1]])
    ]
    assert one.wer["eval"].paired == wer_difference(*counts)
    assert one.loss.difference == pytest.approx(0.1) and one.loss.seeds == 2
    assert one.wer["eval"].margin == pytest.approx(0.02 * np.mean([BASE[n].wer["eval"].wer for n in (1, 2)]))


def test_systems_come_by_number_of_workers_without_their_baselines() -> None:
    cells = [training(name, workers, seed, 1.0) for name, workers in (("a", 8), ("a", 2), ("b", 4)) for seed in (1, 2)]
    assert list(found(*BASE, *cells)) == ["a, K = 2", "b, K = 4", "a, K = 8"]


def test_verdicts_and_their_margin() -> None:
    more_errors = {"w": 4.0, "e": 0.0, "b": -4.0}
    cells = [training(name, 2, seed, more) for name, more in more_errors.items() for seed in (1, 2, 3)]
    said = {name: one.wer["eval"].said for name, one in found(*BASE, *cells, margin=6.0).items()}
    assert said == {"w, K = 2": "worse", "e, K = 2": "equivalent", "b, K = 2": "better"}
    assert found(*BASE, *cells, margin=1e-9)["e, K = 2"].wer["eval"].said == "no difference found"
    assert {one.wer["eval"].said for one in found(*BASE, *cells, margin=99.0).values()} == {"equivalent"}


def test_p_is_corrected_for_the_number_of_systems() -> None:
    same = [training("a", 2, seed, 1.0) for seed in (1, 2, 3)]
    alone = found(*BASE, *same)["a, K = 2"].wer["eval"]
    assert alone.corrected_p == alone.paired.p
    others = [training(f"o{n}", 2, seed, 0.0) for n in range(9) for seed in (1, 2, 3)]
    among = found(*BASE, *same, *others)["a, K = 2"].wer["eval"]
    assert among.paired == alone.paired and among.corrected_p == pytest.approx(10 * alone.paired.p)


def test_of_one_seed_it_is_said() -> None:
    one = found(BASE[0], training("a", 2, 1, 4.0, 1.5))["a, K = 2"]
    assert one.wer["eval"].said == "worse (one seed)" and one.seeds == 1 and one.loss is None


def test_what_cannot_be_compared_is_left_out() -> None:
    lost = replace(training("a", 2, 1, 0.0), status="diverged", wer={})
    one_speaker = of_speakers("b", 2, 1, [10])
    other_speakers = replace(point("c", 2, 10.0, 1.5), wer={"eval": BASE[0].wer["eval"]})
    renamed = {f"x{name}": counts for name, counts in BASE[0].wer["eval"].per_speaker.items()}
    other_speakers.wer["eval"] = replace(BASE[0].wer["eval"], per_speaker=renamed)
    other_seed = training("d", 2, 9, 0.0, 1.0)
    assert not found(*BASE, lost, one_speaker, other_speakers, other_seed)
    diverged = replace(BASE[0], status="diverged", wer={})
    assert not found(diverged, training("a", 2, 1, 0.0))


def test_a_row_for_each_system_with_its_interval_and_margin() -> None:
    every = contestants(made_up.comparison(), summarise(made_up.comparison()))
    with house_style():
        plot = difference_plot(every, "eval", "us", 2.0)
    (axes,) = plot.figure.axes
    points = {(line.get_gid() or ""): line for line in axes.lines}
    assert len(plot.tips) == len(every) == len(axes.patches)
    for place, one in enumerate(every):
        difference = one.wer["eval"]
        assert points[f"tip-{place}"].get_xydata().tolist() == [[difference.paired.difference, place]]
        (interval,) = (of for of in axes.lines if list(of.get_ydata()) == [place, place])
        assert tuple(interval.get_xdata()) == difference.paired.interval()
        assert (interval.get_linestyle() == "-") == (difference.paired.seeds > 1)
        assert axes.patches[place].get_width() == pytest.approx(2 * difference.margin)
        assert one.group.name in plot.tips[f"tip-{place}"] and difference.said in plot.tips[f"tip-{place}"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert all(name.endswith(f"K = {one.group.workers}") for name, one in zip(names, every, strict=True))
    assert list(every) == sorted(every, key=lambda one: one.group.workers)


def test_one_that_fails_does_not_flatten_the_others() -> None:
    def scale(worst: float) -> str:
        cells = [training(name, 2, seed, more) for name, more in (("a", 0.0), ("b", worst)) for seed in (1, 2)]
        every = list(found(*BASE, *cells).values())
        with house_style():
            return difference_plot(every, "eval", "us", 2.0).figure.axes[0].get_xscale()

    assert (scale(1.0), scale(60.0)) == ("linear", "symlog")
