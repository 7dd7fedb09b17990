"""Filters drawn as patches."""

from pathlib import Path

import numpy as np
import pytest

from asr_parallel.report.filters import plot_filters


def test_filters_are_drawn(tmp_path: Path) -> None:
    plot_filters(np.random.default_rng(0).standard_normal((5, 33)), 3, tmp_path / "filters.png")
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="whole frames of 4"):
        plot_filters(np.zeros((5, 33)), 4, tmp_path / "filters.png")
