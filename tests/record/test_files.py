"""Whole files or none."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr_parallel.record import files
from asr_parallel.record.files import (
    atomic_file,
    atomic_folder,
    list_files,
    read_json,
    read_lines,
    read_text_lines,
    write_json,
    write_text,
)
from asr_parallel.record.log import logger


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as temp:
        temp.write_text("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("5 requested and 1 written")])
def test_a_full_disk_names_the_file(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError, match=r"a\.txt") as raised, atomic_file(tmp_path / "a.txt"):
        raise error
    assert raised.value.errno == error.errno and not names(tmp_path)


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"ü": [1, 2.5, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"ü": [1, 2.5, None]}


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"u1 caf\xc3\xa9\nu2 caf\xe9\n")
    with pytest.raises(ValueError, match="line 2 is not valid UTF-8"):
        read_lines(tmp_path / "text")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"])
def test_lines_end_at_newlines_only(tmp_path: Path, separator: str) -> None:
    (tmp_path / "text").write_bytes(f"u1 a{separator}b\n\nu2 c\n".encode())
    assert read_lines(tmp_path / "text") == [f"u1 a{separator}b", "", "u2 c"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"\xef\xbb\xbfu1 a\r\nu2 b\r\n", ["u1 a", "u2 b"]),
        (b"u1 a\nu2 b", ["u1 a", "u2 b"]),
        (b"\n\n", ["", ""]),
        (b"\xef\xbb\xbf", []),
        (b"", []),
    ],
)
def test_byte_order_marks_and_carriage_returns_are_no_text(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    (tmp_path / "text").write_bytes(data)
    assert read_lines(tmp_path / "text") == lines


def test_the_place_of_a_bad_byte_behind_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\n\xe9\n")
    with pytest.raises(ValueError, match=r"line 2 is not valid UTF-8 \(byte 5\)"):
        read_lines(tmp_path / "text")


@pytest.mark.parametrize("odd", ["\u200b", "\u200d", "\ufeff", "\u2060", "\xad", "\u2028", "\xa0", "\x0c", "\x00"])
def test_invisible_characters_are_reported(
    tmp_path: Path, odd: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    (tmp_path / "text").write_text(f"u1 a\tb\nu2 a{odd}b{odd}\n", encoding="utf-8")
    assert read_text_lines(tmp_path / "text") == ["u1 a\tb", f"u2 a{odd}b{odd}"]
    assert f"U+{ord(odd):04X} 2 times; the first in line 2" in caplog.text
    caplog.clear()
    (tmp_path / "text").write_text("u1 \u00e9 \u6771\u4eac \u0928\u0940\r\n", encoding="utf-8")
    read_text_lines(tmp_path / "text")
    assert not caplog.records


def test_a_folder_is_replaced_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / "x").write_text("1")
    with pytest.raises(OSError), atomic_folder(out) as folder:
        (folder / "x").write_text("2")
        raise OSError(28, "No space left on device")
    assert (out / "x").read_text() == "1"
    out.rename(tmp_path / ".out.old")  # as a kill between the two renames leaves it
    with pytest.raises(OSError), atomic_folder(out):
        raise OSError(28, "No space left on device")
    assert (out / "x").read_text() == "1"
    with atomic_folder(out) as folder:
        (folder / "y").write_text("3")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["y"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("linked", ["out", "exp"])
def test_symbolic_links_are_followed_and_stay(tmp_path: Path, linked: str, there: bool) -> None:
    """Links of the result or of a folder above it, to a folder that is there or is not yet."""
    exp, out, large = tmp_path / "exp", tmp_path / "exp" / "out", tmp_path / "large" / "disk"
    link = exp if linked == "exp" else out
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(large)
    if there:
        large.mkdir(parents=True)
    for turn in ("1", "2"):
        with atomic_folder(out) as folder:
            assert folder.parent == (large if linked == "exp" else large.parent)  # on its file system
            (folder / turn).write_text("")
        assert link.is_symlink() and names(out) == [turn] and names(large.parent) == ["disk"]
    with pytest.raises(RuntimeError), atomic_folder(out):
        raise RuntimeError("stop")
    assert link.is_symlink() and names(out) == ["2"]


def test_a_mount_point_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match="a mount point"), atomic_folder(Path("/")):
        raise AssertionError("built")


def test_files_below_a_folder_are_found_through_links_and_once(tmp_path: Path) -> None:
    for name in ("tree/b", "tree/sub/a", "elsewhere/deep/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "tree" / "link").symlink_to("../elsewhere")
    (tmp_path / "tree" / "same").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to("../tree")
    (tmp_path / "tree" / "gone").symlink_to("nowhere")
    (tmp_path / "tree" / "file").symlink_to("../elsewhere/deep/c")
    found = [path.relative_to(tmp_path / "tree").as_posix() for path in list_files(tmp_path / "tree")]
    assert found == ["b", "file", "link/deep/c", "sub/a"]
    assert list_files(tmp_path / "nowhere") == []


def test_a_link_to_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("large/a.txt")
    for text in ("old", "new"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "large" / "a.txt").read_text() == text
    assert names(tmp_path / "large") == ["a.txt"]


@pytest.mark.parametrize("cause", [None, OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded")])
def test_a_library_s_error_gets_the_system_s_reason(
    tmp_path: Path, cause: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy says how many numbers it wrote, and not why it did not write more: whether the disk is full is tried."""

    def full(_: Path) -> None:
        if cause is not None:
            raise cause

    monkeypatch.setattr(files, "fsync", full)
    for context in (atomic_folder(tmp_path / "out"), atomic_file(tmp_path / "out")):
        with pytest.raises(OSError, match="5 requested and 1 written") as raised, context:
            raise OSError("5 requested and 1 written")
        assert raised.value.errno == (cause and cause.errno) and not names(tmp_path)
        assert (cause.strerror if cause else "5 requested") in str(raised.value)


SLEEPER = """
import sys, time
from pathlib import Path
from asr_parallel.record.files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.timeout(60)
def test_a_killed_writer_leaves_nothing_at_the_path_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    with atomic_folder(out) as folder:
        (folder / "whole").write_text("whole")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["whole"]
