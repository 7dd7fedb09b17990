"""The machine as a record has it."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch

from asr_parallel.record.environment import environment


def install(monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])


@pytest.mark.parametrize(
    ("names", "gpu"),
    [
        (["NVIDIA H200"], "1 x NVIDIA H200"),
        (["A", "B", "A"], "2 x A, 1 x B"),
    ],
)
def test_gpus_are_named_and_counted(monkeypatch: pytest.MonkeyPatch, names: list[str], gpu: str) -> None:
    install(monkeypatch, names)
    assert environment()["gpu"] == gpu


def test_a_machine_without_one_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [])
    assert "gpu" not in environment()


def test_a_gpu_that_does_not_answer_costs_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> str:
        raise RuntimeError("CUDA error: unspecified launch failure")

    install(monkeypatch, ["NVIDIA H200"])
    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    assert "gpu" not in environment() and environment()["cpu"]


def test_torch_is_not_imported_for_it() -> None:
    code = (
        "import sys; from asr_parallel.record.environment import environment\n"
        "found = environment(); sys.exit('torch' in sys.modules or 'gpu' in found)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
