"""A small frame store that can be learnt; one thread a process on several cores, and long files first."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from no_pixels import draw_pixels, leave_out_pixels

from asr_parallel.features.archive import write_archive
from asr_parallel.features.frame_writer import make_frames
from asr_parallel.record.environment import cpu_count
from asr_parallel.record.files import write_json
from asr_parallel.record.log import logger

NUM_PDFS = 3

# What runs the tests in the background may have both ignored, and so would all that they start
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files of several minutes, which start first so that no core is idle at the end (pytest runs a file on one core)
LONG = (
    "test_layouts", "test_swbd_recipe", "test_processes", "test_fingerprints", "test_async_processes", "test_stop",
    "test_resume", "test_run_jobs", "test_recovery", "test_mpirun", "test_own_model", "test_async_faults",
    "test_libraries", "test_compression_resume", "test_two_runs", "test_comparison_figures", "test_browser",
    "test_swbd_options", "test_gmm_systems", "test_librispeech_recipe", "test_an4_recipe",
)  # fmt: skip


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are cores: tests of real processes wait for each other much of the time."""
    return cpu_count() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(autouse=True)
def untouched_log() -> None:
    """Take away the log's handler that an earlier test's main() has set up, which writes to that test's output."""
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture(autouse=True, scope="session")
def _no_pixels() -> None:
    leave_out_pixels()


@pytest.fixture
def pixels(_no_pixels: None) -> Iterator[None]:
    """Draw pictures."""
    draw_pixels()
    yield
    leave_out_pixels()


@pytest.fixture
def package_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide algorithms that tests have registered."""
    from asr_parallel.parallel import registry

    own = {one.name: one for one in registry.entries() if one.cls.__module__.startswith("asr_parallel.")}
    monkeypatch.setattr(registry, "_entries", own)


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames whose pdf shows in which of three dimensions is large, two frames *earlier*: context is needed."""
    feats, out = tmp_path_factory.mktemp("feats"), tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    labels = {f"u{k:02}": np.repeat(random.integers(0, NUM_PDFS, 40), 3) for k in range(30)}
    matrices = [
        (name, name[:2], (np.roll(np.eye(3)[pdf_ids], -2, axis=0) + 0.5 * random.standard_normal((120, 3))))
        for name, pdf_ids in labels.items()
    ]
    write_archive(feats, matrices)
    write_json(feats / "kind.json", {"kind": "fbank"})
    make_frames(feats, labels, NUM_PDFS, out)
    return out
