"""Kaldi's archives of alignments: bytes written by hand, by kaldi_native_io, and faults."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.hmm.kaldi.alignment_writer import archive_bytes
from asr_parallel.hmm.kaldi.alignments import alignment_files, read_alignments

BINARY = (
    b"u1 \0B\x04\x03\0\0\0\x04\x01\0\0\0\x04\x02\0\0\0\x04\x2c\x01\0\0"
    b"u2 \0B\x04\0\0\0\0u3 \0B\x04\x01\0\0\0\x04\x07\0\0\0"
)
TEXT = b"u1 1 2 300 \nu2 \nu3 7 \n"
ENTRIES = [("u1", [1, 2, 300]), ("u2", []), ("u3", [7])]


def zipped(folder: Path, data: bytes, number: int = 1) -> Path:
    path = folder / f"ali.{number}.gz"
    path.write_bytes(gzip.compress(data))
    return path


def read(path: Path) -> list[tuple[str, list[int]]]:
    found = list(read_alignments(path))
    assert all(ids.dtype == np.int32 for _, ids in found)
    return [(utterance, ids.tolist()) for utterance, ids in found]


@pytest.mark.parametrize("data", [BINARY, TEXT, b"u1 1 2 300\nu2\nu3 7\n"], ids=["binary", "text", "plain text"])
def test_an_archive_written_by_hand(tmp_path: Path, data: bytes) -> None:
    assert read(zipped(tmp_path, data)) == ENTRIES


@pytest.mark.parametrize("kind", ["ark", "ark,t"])
def test_an_archive_of_the_library(tmp_path: Path, kind: str) -> None:
    io = pytest.importorskip("kaldi_native_io")
    random = np.random.default_rng(0)
    entries = [(f"sw02001-A_{n:06}", random.integers(1, 9000, n).tolist()) for n in (1, 0, 700, 32)]
    with io.Int32VectorWriter(f"{kind}:{tmp_path / 'ali'}") as writer:
        for utterance, ids in entries:
            writer.write(utterance, ids)
    data = (tmp_path / "ali").read_bytes()
    assert read(zipped(tmp_path, data)) == entries
    assert data == archive_bytes(entries, binary=kind == "ark")


def test_binary_and_text_entries_may_be_mixed_as_in_kaldi(tmp_path: Path) -> None:
    mixed = archive_bytes(ENTRIES[:1], binary=True) + archive_bytes(ENTRIES[1:], binary=False)
    assert read(zipped(tmp_path, mixed)) == ENTRIES
    mixed = archive_bytes(ENTRIES[:2], binary=False) + archive_bytes(ENTRIES[2:], binary=True)
    assert read(zipped(tmp_path, mixed)) == ENTRIES


@pytest.mark.parametrize("data", [BINARY, TEXT], ids=["binary", "text"])
def test_a_truncated_archive_is_one_line_unless_it_ends_between_entries(tmp_path: Path, data: bytes) -> None:
    ends = {len(archive_bytes(ENTRIES[:n], binary=data is BINARY)) for n in range(4)}
    for end in range(len(data)):
        path = zipped(tmp_path, data[:end])
        if end in ends:
            assert read(path) == ENTRIES[: sorted(ends).index(end)]
            continue
        with pytest.raises(ValueError, match=r"ali.1.gz: the alignment of u\d? ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_truncated_or_another_gzip_file_is_one_line(tmp_path: Path) -> None:
    path = zipped(tmp_path, BINARY * 100)
    whole = path.read_bytes()
    damaged = whole[:30] + bytes([whole[30] ^ 255]) + whole[31:]
    for data in (whole[: len(whole) // 2], whole[:5], whole[:-4], BINARY, damaged):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"ali.1.gz: truncated or not gzip"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"ali.1.gz: an empty file"):
        read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"u1 \0BFM \x04\x01\0\0\0\x04\x01\0\0\0\0\0\0\0", "u1 is not a vector of 32-bit integers"),
        (b"u1 \0B\x04\x02\0\0\0\x04\x01\0\0\0\x08\x01\0\0\0", "u1 is not a vector of 32-bit integers"),
        (b"u1 \0B\x04\xff\xff\xff\xff", "u1 is truncated: -1 frames are said to follow"),
        (b"u1 1 2\nu2 1 two 3\n", "u2 is not a line of transition ids"),
        (b"u1 1 99999999999\n", "u1 is not a line of transition ids"),
        (b"u1  [ 0.5 0.5 ]\n", "u1 is not a line of transition ids"),
    ],
)
def test_another_kind_of_archive_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(zipped(tmp_path, data))


def test_the_jobs_files_are_read_in_order_and_all_are_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no ali.\*.gz; expected a folder with"):
        alignment_files(tmp_path)
    for number in (10, 9, 1):
        zipped(tmp_path, TEXT, number)
    (tmp_path / "ali.1.gz.bak").touch()
    assert [path.name for path in alignment_files(tmp_path)] == ["ali.1.gz", "ali.9.gz", "ali.10.gz"]
    (tmp_path / "num_jobs").write_text("10\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"3 files ali.\*.gz, but no ali.2.gz; num_jobs says 10"):
        alignment_files(tmp_path)
    (tmp_path / "num_jobs").write_text("1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"3 files ali.\*.gz; num_jobs says 1"):
        alignment_files(tmp_path)
    (tmp_path / "num_jobs").write_text("many\n", encoding="utf-8")
    with pytest.raises(ValueError, match="num_jobs: expected a number of jobs"):
        alignment_files(tmp_path)
