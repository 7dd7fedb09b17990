"""The machine as a record has it."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from asr_parallel.record import environment as environment_module
from asr_parallel.record.environment import available_memory, cpu_count, cpu_quota, environment


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


V1 = "9:name=systemd:/\n4:cpu,cpuacct:{path}\n"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),  # of the group around it
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, 0.5),
        ("0::/docker/x\n", {"cpu.max": "300000 100000"}, 3),  # a path of outside the container
        ("0::/../../x\n", {"cpu.max": "300000 100000"}, 3),
        ("1:cpuset:/\n0::/a\n", {"unified/a/cpu.max": "100000 50000"}, 2),
        (V1.format(path="/"), {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
         math.inf),
        (V1.format(path="/job"), {"cpu/job/cpu.cfs_quota_us": "25000\n", "cpu/job/cpu.cfs_period_us": "10000\n"}, 2.5),
        (V1.format(path="/docker/x"), {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        (V1.format(path="/job"), {"cpuset/job/cpu.cfs_quota_us": "1", "cpu/job/cpu.cfs_quota_us": "100000"}, math.inf),
        ("", {"cpu.max": "100000 100000"}, math.inf),
    ],
)  # fmt: skip
def test_quotas_of_control_groups(tmp_path: Path, own: str, files: dict[str, str], quota: float) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "own") == quota


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nothing", tmp_path / "none") == math.inf


@pytest.mark.parametrize(("quota", "cores"), [(math.inf, 6), (2.0, 2), (1.5, 2), (0.1, 1), (64.0, 6)])
def test_cores_are_no_more_than_the_quota(monkeypatch: pytest.MonkeyPatch, quota: float, cores: int) -> None:
    monkeypatch.setattr(environment_module, "available_cores", lambda: list(range(6)))
    monkeypatch.setattr(environment_module, "cpu_quota", lambda: quota)
    assert cpu_count() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to cores here")
def test_cores_are_those_the_process_is_bound_to() -> None:
    code = (
        "import os; from asr_parallel.record.environment import cpu_count, available_cores\n"
        "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}); print(cpu_count(), len(available_cores()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


GIB = 1 << 30
LEFT = 6 * GIB  # of a limit of 8, of which 3 are used and 1 is old pages of files


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/a", {}, 20 * GIB),
        (
            "0::/a",
            {"a/memory.max": f"{8 * GIB}", "a/memory.current": f"{3 * GIB}",
             "a/memory.stat": f"file 9\ninactive_file {GIB}"},
            LEFT,
        ),
        ("0::/a", {"a/memory.max": "max", "a/memory.current": "5", "a/memory.stat": ""}, 20 * GIB),
        ("0::/a/b", {"a/memory.max": f"{GIB}", "a/memory.current": f"{2 * GIB}", "a/memory.stat": ""}, 0),
        (
            "4:memory:/a",
            {"memory/a/memory.limit_in_bytes": f"{8 * GIB}", "memory/a/memory.usage_in_bytes": f"{3 * GIB}",
             "memory/a/memory.stat": f"total_inactive_file {GIB}"},
            LEFT,
        ),
        ("4:cpu:/a", {"a/memory.max": "1", "a/memory.current": "0", "a/memory.stat": ""}, 20 * GIB),
    ],
)  # fmt: skip
def test_memory_that_is_left(tmp_path: Path, own: str, files: dict[str, str], left: float) -> None:
    (tmp_path / "own").write_text(own + "\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {20 * GIB // 1024} kB\n")
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    assert available_memory(tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "own") == left


def test_memory_that_is_not_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "none", tmp_path / "none", tmp_path / "none") == math.inf
