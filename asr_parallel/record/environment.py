"""Software versions and hardware, for the record of a stage."""

import math
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from asr_parallel import __version__

PACKAGES = ("torch", "numpy", "numba", "lhotse", "kaldifst", "kaldi-decoder", "kaldilm", "kaldi-native-fbank")


def available_cores() -> list[int]:
    """Return the numbers of the cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cpu_count() -> int:
    """Return how many cores this process may use: those it may run on, and of a container no more than its quota."""
    return max(1, math.ceil(min(len(available_cores()), cpu_quota())))  # rounded up, as joblib and Java do


CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> float:
    """Return the least quota of this process's control groups, in cores; infinity where there is none.

    Version 2 has `cpu.max`, "QUOTA PERIOD" in microseconds or "max PERIOD"; version 1 cpu.cfs_quota_us, -1 for none,
    and cpu.cfs_period_us (docs.kernel.org/admin-guide/cgroup-v2.html, docs.kernel.org/scheduler/sched-bwc.html).
    """
    return min([math.inf, *(quota for group in _groups("cpu", cgroups, own) for quota in _quota(group))])


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> float:
    """Return the bytes that this process and its children may still use; infinity where that is not known.

    The least of what the machine has and what the control groups leave (memory.max, or memory.limit_in_bytes of version
    1; pages of files that have not been used lately count as free).
    """
    found = [math.inf]
    for line in meminfo.read_text(encoding="utf-8").splitlines() if meminfo.is_file() else []:
        if line.startswith("MemAvailable:"):
            found.append(1024.0 * int(line.split()[1]))
    for group in _groups("memory", cgroups, own):
        found += _memory_left(group)
    return max(0.0, min(found))


def _groups(controller: str, cgroups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups for a controller, and of their parents, which bind it too.

    In a container the path may be the host's; the container's group is the root.
    """
    for line in own.read_text(encoding="utf-8").splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for root in (cgroups / controllers, cgroups / controller) if controllers else (cgroups, cgroups / "unified"):
            inner = root / path.lstrip("/")
            for group in (inner, *inner.parents):
                yield group
                if group == root:
                    break


def _memory_left(group: Path) -> list[float]:
    """Return the bytes that one control group leaves, if it has a limit."""
    try:
        version_2 = (group / "memory.max").is_file()
        names = ("memory.max", "memory.current") if version_2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = ((group / name).read_text().strip() for name in names)
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # none, or not readable by this user
        return []
    unused = int(stat.get("inactive_file" if version_2 else "total_inactive_file", 0))
    return [float(int(limit) - int(used) + unused)] if limit.isdecimal() else []


def _quota(group: Path) -> list[float]:
    """Return the quota of one control group, in cores, if it has one."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):  # none, or not readable by this user
        return []
    return [int(quota) / int(period)] if quota.isdecimal() and int(period) > 0 else []


@cache
def git_revision() -> str | None:
    """Return the revision of the code, as git describes it when this process first asks; None without git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    return done.stdout.strip() or None if done.returncode == 0 else None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> str | None:
    """Return the names of the GPUs, "2 x NVIDIA H200", or None where torch was not imported or finds none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    try:
        names = Counter(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    except RuntimeError:  # a failed GPU must not make a finished stage fail
        return None
    return ", ".join(f"{times} x {name}" for name, times in names.items())


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def environment() -> dict[str, Any]:
    """Return versions and hardware, as kept in every stage's record; GPUs are in that of a process that uses torch."""
    gpu = _gpus()
    return {
        "asr_parallel": __version__,
        "revision": git_revision(),
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "cpu": _cpu_model(),
        "cores": cpu_count(),
        **({} if gpu is None else {"gpu": gpu}),
        "system": platform.platform(),
    }
