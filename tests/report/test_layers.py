"""The picture of a stack's learning_curve."""

from pathlib import Path

import pytest

from asr_parallel.record.json_lines import JsonLines
from asr_parallel.report.layers import PANELS, plot_layers


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
