"""Whole files or none."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr_parallel.record.files import read_json, read_lines, whole_file, whole_folder, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), whole_file(path) as aside:
        aside.write_text("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("5 requested and 1 written")])
def test_a_full_disk_names_the_file(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError, match=r"a\.txt") as raised, whole_file(tmp_path / "a.txt"):
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


def test_a_folder_is_replaced_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as folder:
        (folder / "x").write_text("1")
    with pytest.raises(OSError), whole_folder(out) as folder:
        (folder / "x").write_text("2")
        raise OSError(28, "No space left on device")
    assert (out / "x").read_text() == "1"
    out.rename(tmp_path / ".out.old")  # as a kill between the two renames leaves it
    with pytest.raises(OSError), whole_folder(out):
        raise OSError(28, "No space left on device")
    assert (out / "x").read_text() == "1"
    with whole_folder(out) as folder:
        (folder / "y").write_text("3")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["y"]


SLEEPER = """
import sys, time
from pathlib import Path
from asr_parallel.record.files import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
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
    with whole_folder(out) as folder:
        (folder / "whole").write_text("whole")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["whole"]
