"""The example of an own model: an LSTM trained by three algorithms in two processes."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fast_start import Started

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"
WORDS = ["--minibatches", "160", "--out", "model.pt"]


def check(algorithm: str, said: str, model: Path) -> None:
    (line,) = said.splitlines()
    assert line.startswith(f"{algorithm}, 2 workers, 20 synchronizations: accuracy ")
    assert float(line.rpartition(" ")[2]) > 0.6  # a guess is right a quarter of the time
    assert all(tensor.isfinite().all() for tensor in torch.load(model, weights_only=True).values())


@pytest.mark.timeout(280)
def test_two_processes_train_an_lstm(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--processes", "2", "--algorithm", "average", *WORDS],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=270,
    )
    assert done.returncode == 0, done.stderr
    check("average", done.stdout, tmp_path / "model.pt")


def run_example(algorithms: list[str]) -> None:
    """Train by one algorithm after the other, each in a folder of its name; torch.optim's first import takes long."""
    above = Path.cwd()
    for algorithm in algorithms:
        os.chdir(above / algorithm)
        sys.argv = [str(EXAMPLE), "--algorithm", algorithm, *WORDS]
        runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.mark.timeout(280)
def test_other_algorithms_too(tmp_path: Path) -> None:
    algorithms = ["block-momentum", "elastic"]
    for algorithm in algorithms:
        (tmp_path / algorithm).mkdir()
    ranks = [
        Started(
            algorithms,
            {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "ASR_PARALLEL_LAUNCH": "x"},
            program=run_example,
            folder=tmp_path,
        )
        for rank in range(2)
    ]
    said, other = (process.communicate(240)[0] for process in ranks)
    assert [process.returncode for process in ranks] == [0, 0], said + other
    for algorithm, line in zip(algorithms, said.splitlines(), strict=True):
        check(algorithm, line, tmp_path / algorithm / "model.pt")
    assert other == ""
