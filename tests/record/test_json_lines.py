"""JSON lines: what a killed program leaves, what is kept, and a full disk."""

from pathlib import Path

import pytest

from asr_parallel.record.json_lines import JsonLines, read_json_lines


def test_lines_are_kept_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n{"n": 4', encoding="utf-8")  # killed while writing the fourth
    lines = JsonLines(path, lambda value: value["n"] < 3)
    lines.append({"n": 5})
    assert lines.kept == [{"n": 1}, {"n": 2}]
    assert read_json_lines(path) == [{"n": 1}, {"n": 2}, {"n": 5}]


def test_a_new_file_is_there_before_its_first_line(tmp_path: Path) -> None:
    JsonLines(tmp_path / "new" / "a.jsonl", lambda value: True)
    assert read_json_lines(tmp_path / "new" / "a.jsonl") == []


@pytest.mark.parametrize("bad", ["{", "[1]", ""])
def test_other_broken_lines_are_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"n": 1}}\n{bad}\n{{"n": 3}}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.jsonl: line 2"):
        read_json_lines(path)


def test_a_full_disk_is_told_by_the_line_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = JsonLines(path, lambda value: True)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        lines.append({"n": 1})
