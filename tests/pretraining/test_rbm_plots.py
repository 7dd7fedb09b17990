"""Plots of a stack's layers and of the first layer's filters."""

from pathlib import Path

import numpy as np
import pytest

from asr_parallel.pretraining.rbm_plots import PANELS, plot_filters, plot_layers
from asr_parallel.record.json_lines import JsonLines

pytestmark = pytest.mark.usefixtures("pixels")


def record(path: Path, **changes: object) -> Path:
    lines = JsonLines(path, lambda line: True)
    for k in range(1, 4):
        lines.append({"kind": "rbm", "frames": 1000 * k} | {name: 1.0 / k for name, _ in PANELS} | changes)
    return path


def test_a_picture_of_all_layers(tmp_path: Path) -> None:
    plot_layers([record(tmp_path / f"{k}.jsonl") for k in range(6)], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_another_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0.jsonl: line 1: expected a line of a layer's record, of kind rbm"):
        plot_layers([record(tmp_path / "0.jsonl", kind="train")], tmp_path / "curves.png")
    (tmp_path / "1.jsonl").write_text("")
    with pytest.raises(ValueError, match="expected at least one line"):
        plot_layers([tmp_path / "1.jsonl"], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_filters_are_drawn(tmp_path: Path) -> None:
    plot_filters(np.random.default_rng(0).standard_normal((5, 33)), 3, tmp_path / "filters.png")
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="whole frames of 4"):
        plot_filters(np.zeros((5, 33)), 4, tmp_path / "filters.png")
