"""Latency and bandwidth between real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asr_parallel.cli.main import main
from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.clock.measure_network import read_network, write_network

VERB = [sys.executable, "-m", "asr_parallel.cli.main", "measure-network"]


@pytest.mark.timeout(120)
def test_two_processes_measure_and_predict_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "network.json"
    done = subprocess.run([*VERB, "--processes", "2", "--device", "cpu", "--out", str(out)], timeout=100, check=False)
    assert done.returncode == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["network.json"]
    network = read_network(out)
    assert 0 < network.alpha < 1 and 1e6 < network.beta < 1e12 and "gloo" in network.source
    words = ["--workers", "4", "--algorithm", "average", "--step-seconds", "0.1"]
    assert main(["predict", *words, "--network-file", str(out)]) == 0
    said = capsys.readouterr().out
    assert "measured" in said
    assert main(["predict", *words, "--network-file", str(out), "--alpha", "1"]) == 0
    assert capsys.readouterr().out != said


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_network(tmp_path / "n.json", PRESETS["wan"])
    assert read_network(tmp_path / "n.json") == PRESETS["wan"]


def test_one_process_has_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure-network", "--out", str(tmp_path / "n.json")]) == 1
    assert "a single process has no network; expected --processes 2" in capsys.readouterr().err
    assert not (tmp_path / "n.json").exists()


@pytest.mark.parametrize("text", ["{}", json.dumps({"name": "n", "alpha": -1, "beta": 1, "source": ""}), "no JSON"])
def test_a_file_that_is_no_network(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.json").write_text(text)
    assert main(["predict", "--workers", "2", "--step-seconds", "1", "--network-file", str(tmp_path / "n.json")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "n.json" in said or "alpha -1" in said


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--workers", "2", "--step-seconds", "1", "--network-file", str(tmp_path / "n.json")]) == 1
    assert "is not there; expected a file that asr-parallel measure-network wrote" in capsys.readouterr().err
