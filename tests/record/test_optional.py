"""An absent optional package is asked for by the extra that brings it."""

from pathlib import Path

import pytest

from asr_parallel.record.optional import require


def test_the_message_names_the_extra() -> None:
    with pytest.raises(ValueError, match=r"needs the optional package 'no_such_k2': pip install 'asr-parallel\[k2\]'"):
        require("no_such_k2", extra="k2", purpose="lattice-free training")


def test_a_present_package_is_returned() -> None:
    assert require("json", extra="none", purpose="nothing").dumps([]) == "[]"


def test_a_reason_in_several_lines_becomes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "built_for_another_torch.py").write_text(
        "raise ImportError('built with torch 2.8\\nBut runs with 2.9')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"\(built with torch 2\.8 But runs with 2\.9\)$"):
        require("built_for_another_torch", extra="k2", purpose="decoding with k2")
