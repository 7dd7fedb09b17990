"""Learning curves: what is drawn of a record, down to one with a single line."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_parallel.training.curves import draw_curves, plot_curves

pytestmark = pytest.mark.usefixtures("pixels")

Line = dict[str, Any]


def train_line(frames: int, loss: float | None = 2.0, rate: float = 0.01) -> Line:
    return {
        "kind": "train", "frames": frames, "epoch": frames / 200, "loss": loss, "accuracy": 0.25,
        "learning_rate": rate, "skipped": 0, "frames_per_second": 10.0, "data_wait_share": 0.0,
    }  # fmt: skip


def held_out_line(frames: int, loss: float, accepted: bool = True) -> Line:
    return {
        "kind": "held-out", "frames": frames, "epoch": frames / 200, "loss": loss, "accuracy": 0.5,
        "learning_rate": None, "skipped": 0, "accepted": accepted,
    }  # fmt: skip


RECORD = [
    held_out_line(0, 4.0),
    train_line(100, 3.0, 0.1),
    train_line(200, None, 0.1),
    held_out_line(200, 3.5),
    train_line(400, 2.0, 0.01),
    held_out_line(400, 3.6, accepted=False),
]


def write(path: Path, lines: list[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_is_drawn() -> None:
    loss, accuracy, rate = draw_curves(RECORD).axes[:3]
    train, held_out, rejected = loss.lines
    assert np.array_equal(train.get_xydata(), [(100, 3.0), (200, np.nan), (400, 2.0)], equal_nan=True)
    assert np.array_equal(held_out.get_xydata(), [(0, 4.0), (200, 3.5), (400, 3.6)])
    assert np.array_equal(rejected.get_xydata(), [(400, 3.6)])
    assert np.array_equal(accuracy.lines[0].get_ydata(), [25.0, 25.0, 25.0])
    assert np.array_equal(accuracy.lines[1].get_ydata(), [50.0, 50.0, 50.0])
    assert np.array_equal(rate.lines[0].get_xydata(), [(100, 0.1), (200, 0.1), (400, 0.01)])
    labels = [axes.get_ylabel() for axes in (loss, accuracy, rate)]
    assert labels == ["cross-entropy (nats per frame)", "frame accuracy (%)", "learning rate\n(per frame)"]
    assert rate.get_xlabel() == "frames trained on, over all workers"
    assert rate.get_yscale() == "log"
    assert train.get_color() != held_out.get_color()


@pytest.mark.parametrize(
    "lines",
    [
        RECORD,
        [train_line(100)],
        [train_line(100), train_line(200)],
        [held_out_line(0, 4.0)],
        [train_line(100, None)],
    ],
    ids=["a whole training", "one report", "no evaluation", "evaluation alone", "diverged"],
)
def test_a_picture_is_written(tmp_path: Path, lines: list[Line]) -> None:
    out = tmp_path / "new" / "curves.png"
    plot_curves(write(tmp_path / "train.jsonl", lines), out)
    data = out.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1600, 1400)
    assert [path.name for path in out.parent.iterdir()] == ["curves.png"]


def test_the_same_record_gives_the_same_picture(tmp_path: Path) -> None:
    record = write(tmp_path / "train.jsonl", RECORD)
    for name in ("a.png", "b.png"):
        plot_curves(record, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_global_state_is_used() -> None:
    code = "import sys, asr_parallel.training.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected at least one line"),
        ([train_line(100), {"n": 1}], "line 2: expected a line of a training's record"),
        ([{"kind": "train", "loss": 1.0}], "line 1: expected a line of a training's record"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, lines: list[Line], message: str) -> None:
    with pytest.raises(ValueError, match=rf"train\.jsonl: {message}"):
        plot_curves(write(tmp_path / "train.jsonl", lines), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
