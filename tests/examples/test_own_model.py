"""The example of an own model: an LSTM trained by three algorithms in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


@pytest.mark.timeout(280)
@pytest.mark.parametrize("algorithm", ["average", "block-momentum", "elastic"])
def test_two_processes_train_an_lstm(algorithm: str, tmp_path: Path) -> None:
    words = ["--processes", "2", "--algorithm", algorithm, "--minibatches", "160", "--out", str(tmp_path / "model.pt")]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=270,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{algorithm}, 2 workers, 20 synchronizations: accuracy ")
    assert float(line.rpartition(" ")[2]) > 0.6  # a guess is right a quarter of the time
    assert all(tensor.isfinite().all() for tensor in torch.load(tmp_path / "model.pt").values())
