"""Files of figures: what is appended, and their comparison."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def write(path: Path, speeds: dict[str, float]) -> None:
    from figures import Figures

    Figures(path, "training").add("small", speeds)


def compare(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "compare.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_figure_names_machine_versions_and_commit_and_a_fall_is_told(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    write(old, {"bare": 100.0, "ng-sgd": 80.0})
    write(new, {"bare": 500.0, "ng-sgd": 100.0})
    write(new, {"bare": 50.0, "ng-sgd": 20.0})  # the newest counts
    lines = [json.loads(line) for line in old.read_text().splitlines()]
    assert [(one["contestant"], one["value"], one["ratio"]) for one in lines] == [
        ("bare", 100.0, 1.0), ("ng-sgd", 80.0, 0.8),
    ]  # fmt: skip
    assert {"cpu", "vector_instructions", "packages", "asr_parallel"} <= lines[0]["environment"].keys()
    done = compare(old, new)
    assert done.returncode == 0 and "| training | small | ng-sgd | 80 | 20 | 0.25 | 0.80 | 0.40 | 0.50 |" in done.stdout
    assert compare(old, new, "--least", "0.6").returncode == 1
    assert compare(old, new, "--least", "0.4").returncode == 0


def test_files_that_hold_no_figures_are_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    write(good, {"bare": 1.0})
    bad.write_text('{"benchmark": "training"}\n')
    done = compare(good, bad)
    assert done.returncode == 2 and f"{bad}, line 1" in done.stderr
    assert compare(good, tmp_path / "none.jsonl").returncode == 2
