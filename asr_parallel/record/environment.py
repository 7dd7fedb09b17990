"""What a figure was made with: versions, machine, revision."""

import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

from asr_parallel import __version__

PACKAGES = ("torch", "numpy", "numba", "lhotse", "kaldifst", "kaldi-decoder", "kaldilm", "kaldi-native-fbank")


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git_revision() -> str | None:
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
    """Names of the GPUs, "2 x NVIDIA H200", as torch knows them; None where it was not imported or finds none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    try:
        names = Counter(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    except RuntimeError:  # a GPU that has failed must not take a finished stage along
        return None
    return ", ".join(f"{times} x {name}" for name, times in names.items())


def environment() -> dict[str, Any]:
    """Versions and hardware, as kept in every stage's record; GPUs are in that of a process that uses torch."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    gpu = _gpus()
    return {
        "asr_parallel": __version__,
        "revision": _git_revision(),
        "python": platform.python_version(),
        "packages": versions,
        "cpu": _cpu_model(),
        "cores": cpu_count(),
        **({} if gpu is None else {"gpu": gpu}),
        "system": platform.platform(),
    }
