"""Every algorithm: four workers in one, two and four real processes make the same model."""

from pathlib import Path

import pytest
import torch
from fast_start import Started
from safetensors.torch import load_file
from train_all import RUNS, train_all

SECONDS = 300


@pytest.fixture(scope="module")
def trained(frames_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The folder of models by the number of processes."""
    folders = {}
    for processes in (1, 2, 4):
        folders[processes] = out = tmp_path_factory.mktemp(f"processes{processes}")
        where = {"WORLD_SIZE": str(processes), "ASR_PARALLEL_LAUNCH": "x"}
        running = [
            Started([str(frames_folder), str(out)], where | {"RANK": str(rank)}, program=train_all)
            for rank in range(processes)
        ]
        try:
            said = [process.communicate(timeout=SECONDS)[0] for process in running]
        finally:
            for process in running:
                process.kill()
        assert not any(process.returncode for process in running), "\n".join(said)[-3000:]
    return folders


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("name", RUNS)
def test_one_two_and_four_processes(trained: dict[int, Path], name: str) -> None:
    """More than 200 minibatches, of shares that are not equally long."""
    one, two, four = (load_file(trained[processes] / f"{name}.safetensors") for processes in (1, 2, 4))
    if "qsr_alpha" in RUNS[name]:
        assert 100 < one["syncs"] < 200
    elif "period" in RUNS[name]:
        assert one["syncs"] * RUNS[name]["period"] > 200
    models = one.keys() - {"syncs"}
    assert len(models) == (5 if "ensemble" in name else 1)  # the one delivered, and those of workers
    for other in (two, four):
        assert other.keys() == one.keys()
        for model in models:
            distance = torch.dist(one[model], other[model]) / one[model].norm()
            # Where a rounding error turns a message of int8 over, it does so by a whole unit
            assert distance < (5e-3 if "int8" in name else 1e-4), float(distance)
