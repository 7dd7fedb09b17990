"""A study of torch's ways to train: tuned on held-out loss, and not trained again when it is done."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rivals" / "study.py"
MATRIX = """
options: {hidden_layers: 1, hidden_dim: 4, nonlinearity: relu, epochs: 1, minibatch: 64, combine: 0}
tune: {trials: 2, space: {learning_rate: {log: [0.0005, 0.032]}}}
"""


def study(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=150)


@pytest.mark.timeout(240)
def test_a_study_takes_the_best_trial_and_goes_on_where_it_was(frames_folder: Path, tmp_path: Path) -> None:
    matrix, out = tmp_path / "matrix.yaml", tmp_path / "out"
    matrix.write_text(MATRIX)
    words = ["--frames", frames_folder, "--matrix", matrix, "--out", out, "--optimizers", "sgd"]
    words += ["--workers", 2, "--rivals", "averager", "--seeds", 5]
    done = study(*words)
    assert done.returncode == 0, done.stderr
    rows = (out / "table.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[:3] for row in rows] == [["| averager", "sgd", "2"]]

    def results(pattern: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in out.glob(f"{pattern}/result.json")]

    trials, (last,) = results("trials/averager-*"), results("averager-*")
    best = min(trials, key=lambda one: one["held_out_loss"][-1])["task"]["learning_rate"]
    assert len(trials) == 2 and last["task"]["learning_rate"] == best and last["task"]["seed"] == 5
    times = {path: path.stat().st_mtime_ns for path in out.rglob("net.safetensors")}
    assert len(times) == 3 and study(*words).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("net.safetensors")} == times
    matrix.write_text(MATRIX.replace("hidden_dim: 4", "hidden_dim: 5"))
    other = study(*words)
    assert other.returncode == 2 and "of other options" in other.stderr
