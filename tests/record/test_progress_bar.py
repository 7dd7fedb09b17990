"""Progress on a log file is plain lines."""

import logging

import pytest

from asr_parallel.record import progress_bar as module
from asr_parallel.record.log import logger


def test_every_item_comes_through_and_lines_count_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="asr_parallel"):
        assert list(module.progress(range(4), "counting", unit="items")) == [0, 1, 2, 3]
    assert "counting: 2 of 4 (50 %) items" in caplog.text
