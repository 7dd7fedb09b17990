"""What a figure was made with: versions, machine, revision."""

import os
import platform
import shutil
import subprocess
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
    done = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions and hardware, as kept in every stage's record."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "asr_parallel": __version__,
        "revision": _git_revision(),
        "python": platform.python_version(),
        "packages": versions,
        "cpu": _cpu_model(),
        "cores": cpu_count(),
        "system": platform.platform(),
    }
