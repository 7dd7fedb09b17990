"""Files are known by size and content, and are not read again while nobody has touched them."""

import errno
import os
import time
from pathlib import Path

import pytest

from asr_parallel.record import fingerprint
from asr_parallel.record.files import read_json
from asr_parallel.record.fingerprint import BLOCK_BYTES, BLOCKS, Digests

LONG = 3 * BLOCKS * BLOCK_BYTES


def settled(path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written a minute ago."""
    path.write_bytes(data)
    now = time.time()
    monkeypatch.setattr("asr_parallel.record.fingerprint.time.time", lambda: now + 60)
    return path


@pytest.mark.parametrize("size", [100, LONG])
@pytest.mark.parametrize("name", ["a.wav", "a.txt"])
def test_other_content_of_the_same_size_name_and_time_is_noticed(tmp_path: Path, size: int, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(size))
    stat = path.stat()
    before = Digests().of(path)
    path.write_bytes(b"\1" * size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Digests().of(path) != before
    path.write_bytes(bytes(size))
    assert Digests().of(path) == before
    path.write_bytes(bytes(size + 1))
    assert Digests().of(path) != before


def test_of_other_files_than_sounds_every_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(bytes(LONG))
    before = [Digests().of(path), Digests().of(path, is_sound=True)]
    with path.open("r+b") as file:
        file.seek(BLOCK_BYTES + 1)  # between the first two blocks
        file.write(b"\1")
    assert Digests().of(path) != before[0]
    assert Digests().of(path, is_sound=True) == before[1]


def test_what_was_not_touched_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "a.wav", bytes(LONG), monkeypatch)
    first = Digests(tmp_path / "kept.json")
    found = first.of_all({"a": path})
    first.keep()
    reads: list[int] = []
    monkeypatch.setattr(fingerprint, "_sampled", lambda handle, size: reads.append(size) or "read")
    again = Digests(tmp_path / "kept.json")
    assert again.of_all({"a": path}) == found and not reads
    stat = path.stat()
    path.write_bytes(b"\1" * LONG)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the old time, but that of the inode tells
    assert Digests(tmp_path / "kept.json").of(path) == "read" and reads == [LONG]


def test_a_file_that_has_just_been_written_is_not_trusted_to_stay(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"new")
    digests = Digests(tmp_path / "kept.json")
    digests.of(tmp_path / "a.wav")
    digests.keep()
    assert not (tmp_path / "kept.json").exists()


def test_damaged_notes_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "a.wav", b"sound", monkeypatch)
    (tmp_path / "kept.json").write_text("[1")
    digests = Digests(tmp_path / "kept.json")
    assert digests.of(path) == Digests().of(path)
    digests.keep()
    assert list(read_json(tmp_path / "kept.json").values()) == [Digests().of(path)]


def test_a_sound_that_is_missing_counts_as_such(tmp_path: Path) -> None:
    there = Digests().of_all({"a": tmp_path / "a.wav"}, are_sounds=True)
    (tmp_path / "a.wav").write_bytes(b"sound")
    assert Digests().of_all({"a": tmp_path / "a.wav"}, are_sounds=True) != there


def test_a_folder_that_is_gone_is_not_made_to_keep_notes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "a.wav", b"sound", monkeypatch)
    digests = Digests(tmp_path / "gone" / "kept.json")
    digests.of(path)
    digests.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_notes_that_a_full_disk_cuts_off_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = Digests(tmp_path / "kept.json")
    digests.of(settled(tmp_path / "a.wav", b"sound", monkeypatch))

    def half(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[:5].encode(encoding))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    digests.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
