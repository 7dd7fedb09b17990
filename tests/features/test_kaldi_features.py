"""Features in Kaldi's archives: every kind of matrix, normalisation by cmvn.scp, and faults."""

import logging
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_parallel.cli.main import main
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.config import check_features, read_kind
from asr_parallel.features.kaldi_features import KaldiFeatureOptions, import_features
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import write_json

io = pytest.importorskip("kaldi_native_io")
DIM = 4
SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b"}


def matrices() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        key: random.normal(5, 2, (n, DIM)).astype(np.float32) for key, n in zip(SPEAKERS, (30, 12, 25), strict=True)
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    (folder / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in SPEAKERS.items()), encoding="utf-8")
    with io.FloatMatrixWriter(f"ark,scp:{folder}/raw.ark,{folder}/feats.scp") as writer:
        for key, matrix in matrices().items():
            writer.write(key, matrix)
    return folder


def write_cmvn(data: Path, rows: int = 2, count: float | None = None) -> None:
    """Write cmvn.scp as compute-cmvn-stats does: sums with the count at the end, and sums of squares."""
    with io.DoubleMatrixWriter(f"ark,scp:{data}/cmvn.ark,{data}/cmvn.scp") as writer:
        for speaker in ("a", "b"):
            frames = np.concatenate([m for key, m in matrices().items() if SPEAKERS[key] == speaker]).astype(np.float64)
            stats = np.zeros((2, DIM + 1))
            stats[:, :DIM] = frames.sum(axis=0), np.square(frames).sum(axis=0)
            stats[0, DIM] = len(frames) if count is None else count
            writer.write(speaker, stats[:rows])


def imported(data: Path, cmvn: str | None = None, share: float = 0.5) -> FeatureArchive:
    out = data.parent / "archive"
    out.mkdir(exist_ok=True)
    import_features(data, out, KaldiFeatureOptions(cmvn), share)
    return FeatureArchive.open(out)


def same(archive: FeatureArchive, expected: dict[str, np.ndarray], atol: float = 0.0) -> None:
    assert archive.ids == list(expected) and archive.speakers == [SPEAKERS[key] for key in expected]
    for found, matrix in zip(archive, expected.values(), strict=True):
        np.testing.assert_allclose(found, matrix, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["ark", "ark,t"])
def test_floats_come_as_they_are(data: Path, kind: str) -> None:
    with io.FloatMatrixWriter(f"{kind},scp:{data}/raw.ark,{data}/feats.scp") as writer:
        for key, matrix in matrices().items():
            writer.write(key, matrix)
    same(imported(data), matrices(), atol=0.0 if kind == "ark" else 1e-5)


def test_doubles_and_whole_files_and_ranges_are_read(data: Path) -> None:
    first, second, third = matrices().values()
    (data / "first.mat").write_bytes(
        b"\0BDM " + struct.pack("<bibi", 4, *[len(first), 4], DIM) + first.astype("<f8").tobytes()
    )
    lines = (data / "feats.scp").read_text(encoding="utf-8").splitlines()
    lines = [f"a-1 {data}/first.mat", f"{lines[1]}[2:7]", f"{lines[2]}[0:9,0:3]"]
    (data / "feats.scp").write_text("\n".join(lines) + "\n", encoding="utf-8")
    same(imported(data), {"a-1": first, "a-2": second[2:8], "b-1": third[:10]})


def one_byte_with_column_headers() -> tuple[bytes, np.ndarray]:
    """Return a CM matrix of 2 rows and 1 column, and its values by src/matrix/compressed-matrix.cc."""
    head = struct.pack("<ffii", -1.0, 2.0, 2, 1) + struct.pack("<4H", 0, 16384, 49152, 65535)
    quarter, three = -1 + 2 / 65535 * 16384, -1 + 2 / 65535 * 49152
    values = [quarter + (three - quarter) * (100 - 64) / 128, three + (1 - three) * (255 - 192) / 63]
    return b"\0BCM " + head + bytes([100, 255]), np.array([values], dtype=np.float32).T


def two_bytes() -> tuple[bytes, np.ndarray]:
    head = struct.pack("<ffii", -4.0, 8.0, 2, 2)
    values = -4 + np.array([[0, 65535], [32768, 1]]) * (8 / 65535)
    return b"\0BCM2 " + head + struct.pack("<4H", 0, 65535, 32768, 1), values


def one_byte() -> tuple[bytes, np.ndarray]:
    head = struct.pack("<ffii", 1.0, 51.0, 1, 3)
    return b"\0BCM3 " + head + bytes([0, 255, 10]), np.array([[1.0, 52.0, 3.0]])


@pytest.mark.parametrize("made", [one_byte_with_column_headers, two_bytes, one_byte])
def test_compressed_matrices_written_by_hand(data: Path, made: Callable[[], tuple[bytes, np.ndarray]]) -> None:
    written, values = made()
    (data / "raw.ark").write_bytes(b"a-1 " + written)
    (data / "feats.scp").write_text(f"a-1 {data}/raw.ark:4\n", encoding="utf-8")
    same(imported(data), {"a-1": values}, atol=1e-5)


@pytest.mark.parametrize(("method", "error"), [("kSpeechFeature", 0.1), ("kTwoByteAuto", 1e-3), ("kOneByteAuto", 0.05)])
def test_compressed_matrices_of_the_library(data: Path, method: str, error: float) -> None:
    with io.CompressedMatrixWriter(f"ark,scp:{data}/raw.ark,{data}/feats.scp") as writer:
        for key, matrix in matrices().items():
            writer.write(key, matrix, getattr(io.CompressionMethod, method))
    same(imported(data), matrices(), atol=error)


def test_cmvn_normalises_each_speaker_as_apply_cmvn_does(data: Path) -> None:
    write_cmvn(data)
    of_a = np.concatenate([matrices()["a-1"], matrices()["a-2"]])
    of = {"a-1": of_a, "a-2": of_a, "b-1": matrices()["b-1"]}
    same(imported(data), {key: m - of[key].mean(axis=0) for key, m in matrices().items()}, atol=1e-5)
    assert read_kind(data.parent / "archive") == {"kind": "kaldi", "settings": {"cmvn": "mean"}}
    expected = {key: (m - of[key].mean(axis=0)) / of[key].std(axis=0) for key, m in matrices().items()}
    same(imported(data, "mean-var"), expected, atol=1e-4)
    same(imported(data, "none"), matrices())
    write_cmvn(data, rows=1)
    same(imported(data, "mean"), {key: m - of[key].mean(axis=0) for key, m in matrices().items()}, atol=1e-5)


def test_without_cmvn_scp_features_are_as_they_are(data: Path) -> None:
    same(imported(data), matrices())
    assert read_kind(data.parent / "archive")["settings"] == {"cmvn": "none"}
    with pytest.raises(ValueError, match=r"no cmvn.scp; expected a Kaldi data directory: feats.scp, utt2spk and"):
        imported(data, "mean")


def test_normalised_features_keep_the_speakers_means(data: Path) -> None:
    write_cmvn(data, count=1000.0)  # as of many more frames: means of these are not zero
    archive, folder = imported(data), data.parent / "archive"
    normalisation = Normalisation.estimate(folder)
    assert normalisation.mean is not None and Normalisation.from_json(normalisation.to_json()) == normalisation
    scaled = normalisation.apply(folder)
    np.testing.assert_allclose(scaled.frames.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.frames.std(axis=0), 1, atol=1e-5)
    difference = (archive[0].mean(axis=0) - archive[2].mean(axis=0)) * normalisation.scale
    np.testing.assert_allclose(scaled[0].mean(axis=0) - scaled[2].mean(axis=0), difference, atol=1e-5)
    with pytest.raises(ValueError, match=r"were normalised by cmvn.scp already; expected no --norm-vars"):
        Normalisation.estimate(folder, norm_vars=True)
    imported(data, "none")
    own = Normalisation.estimate(folder)
    assert own.mean is None and "mean" not in own.to_json()
    np.testing.assert_allclose(own.apply(folder)[2].mean(axis=0), 0, atol=1e-5)


def test_a_model_of_normalised_features_refuses_others(data: Path, tmp_path: Path) -> None:
    write_cmvn(data)
    imported(data)
    trained_on = read_kind(data.parent / "archive")
    check_features(trained_on, data.parent / "archive")
    imported(data, "none")
    with pytest.raises(ValueError, match="the model was trained on"):
        check_features(trained_on, data.parent / "archive")
    write_json(tmp_path / "kind.json", {"kind": "fbank"})
    with pytest.raises(ValueError, match="features with kind fbank; the model was trained on kaldi"):
        check_features(trained_on, tmp_path)


def test_relative_paths_are_of_the_working_directory_or_of_the_scp_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scp = (data / "feats.scp").read_text(encoding="utf-8")
    (data / "feats.scp").write_text(scp.replace(str(data), "data/train"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no file .*relative paths count from the working directory, as in Kaldi"):
        imported(data)
    monkeypatch.chdir(tmp_path)
    same(imported(data), matrices())
    monkeypatch.chdir(data.parent)
    (data / "feats.scp").write_text(scp.replace(f"{data}/", ""), encoding="utf-8")
    same(imported(data), matrices())


@pytest.mark.parametrize(("scp", "key"), [("feats.scp", "a-1"), ("cmvn.scp", "a")])
@pytest.mark.parametrize(
    "value", ["cat raw.ark |", "| cat", "copy-feats ark:raw.ark ark:- |", "touch ran |:12", "touch ran |[0:3]", "-"]
)
def test_commands_are_refused(
    data: Path, scp: str, key: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cmvn(data)
    (data / scp).write_text(f"{key} {value}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{scp}: {key}: .* is not a plain file; commands .* are never run"):
        imported(data)
    assert not (tmp_path / "ran").exists()


def truncate(data: Path) -> None:
    (data / "raw.ark").write_bytes((data / "raw.ark").read_bytes()[:-50])


def unknown_compression(data: Path) -> None:
    (data / "x.ark").write_bytes(two_bytes()[0].replace(b"CM2", b"CM7"))
    relocate(data, f"{data}/x.ark")


def relocate(data: Path, value: str) -> None:
    lines = (data / "feats.scp").read_text(encoding="utf-8").splitlines()
    (data / "feats.scp").write_text("\n".join([*lines[:2], f"b-1 {value}"]) + "\n", encoding="utf-8")


def placed(written: bytes) -> Callable[[Path], None]:
    """Return a function that has these bytes as the third matrix."""

    def place(data: Path) -> None:
        (data / "x.ark").write_bytes(written)
        relocate(data, f"{data}/x.ark")

    return place


def head(kind: bytes, rows: int, columns: int) -> bytes:
    return b"\0B" + kind + struct.pack("<bibi", 4, rows, 4, columns)


def another_speaker(data: Path) -> None:
    lines = (data / "utt2spk").read_text(encoding="utf-8")
    (data / "utt2spk").write_text(lines.replace("b-1 b", "c-1 c"), encoding="utf-8")


def no_statistics(data: Path) -> None:
    write_cmvn(data)
    line = (data / "cmvn.scp").read_text(encoding="utf-8").splitlines()[0]
    (data / "cmvn.scp").write_text(line + "\n", encoding="utf-8")


def statistics_of(rows: int, columns: int, count: float) -> Callable[[Path], None]:
    def write(data: Path) -> None:
        write_cmvn(data)
        stats = np.ones((rows, columns))
        stats[0, -1] = count
        (data / "b.mat").write_bytes(head(b"DM ", rows, columns) + stats.astype("<f8").tobytes())
        line = (data / "cmvn.scp").read_text(encoding="utf-8").splitlines()[0]
        (data / "cmvn.scp").write_text(f"{line}\nb {data}/b.mat\n", encoding="utf-8")

    return write


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, "raw.ark:.*: not a matrix, or truncated: Failed to read matrix"),
    "unknown compression": (unknown_compression, "Unexpected token CM7, expecting CM, CM2 or CM3"),
    "offset within a matrix": (lambda data: relocate(data, f"{data}/raw.ark:11"), "not a matrix, or truncated"),
    "offset behind the end": (lambda data: relocate(data, f"{data}/raw.ark:99999"), "not a matrix, or truncated"),
    "no archive": (lambda data: relocate(data, f"{data}/none.ark:3"), "no file .*none.ark"),
    "a folder": (lambda data: relocate(data, f"{data}:3"), "no file .*train"),
    "alignments": (placed(b"\0B\x04\x01\0\0\0\x04\x01\0\0\0"), "not a matrix, or truncated"),
    "other columns": (placed(head(b"FM ", 2, 3) + bytes(24)), r"shape \(2, 3\); expected rows of 4 columns"),
    "empty": (placed(head(b"FM ", 0, 0)), r"shape \(0, 0\); expected rows of 4 columns"),
    "bytes that are no text": (placed(b"\0B\x80\xc0 "), "x.ark: not a matrix, or truncated"),
    "negative size": (placed(head(b"FM ", -2, 4) + bytes(32)), "not a matrix, or truncated"),
    "more rows than memory": (placed(head(b"FM ", 2**31 - 1, 4)), "not a matrix, or truncated"),
    "not finite": (placed(head(b"FM ", 1, 4) + struct.pack("<4f", 1, 2, float("inf"), 4)), "a feature is not finite"),
    "text that is ragged": (placed(b" [\n 1 2 3 4\n 5 6 7 ]\n"), "inconsistent #cols"),
    "no speaker": (another_speaker, "no speaker in utt2spk"),
    "no statistics": (no_statistics, "b is not in .*cmvn.scp"),
    "statistics of other features": (statistics_of(2, 4, 9), "4 columns of features, cmvn.scp is of 3"),
    "statistics of no frame": (statistics_of(2, 5, 0), "with a count of 1|a count of 1 or more"),
    "statistics of three rows": (statistics_of(3, 5, 9), "found 3 rows"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_utterance_is_left_out_and_counted_up_to_a_limit(
    data: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    break_it, message = FAULTS[fault]
    break_it(data)
    with caplog.at_level(logging.WARNING, "asr_parallel"):
        assert imported(data).ids == ["a-1", "a-2"]
    with pytest.raises(ValueError, match=message) as caught:
        imported(data, share=0.1)
    assert "\n" not in str(caught.value) and "1 of 3 utterances are bad, more than --max-bad-share 0.1" in str(
        caught.value
    )


def test_perturbed_copies_are_warned_of(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "utt2uniq").write_text("a-2 a-1\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "asr_parallel"):
        same(imported(data), matrices())
    assert "utt2uniq" in caplog.text


def test_variances_need_sums_of_squares(data: Path) -> None:
    write_cmvn(data, rows=1)
    with pytest.raises(ValueError, match=r"speaker a: expected 2 rows of finite sums"):
        imported(data, "mean-var")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("feats.scp", "a-1 x.ark:3\na-1 x.ark:3\n", "feats.scp: line 2: duplicate id a-1"),
        ("feats.scp", "a-1\n", "is not a plain file"),
        ("feats.scp", "", "none of 0 utterances is usable"),
        ("utt2spk", "a-1 a b\n", "utt2spk: 'a b' is not one word"),
    ],
)
def test_malformed_tables_are_one_line(data: Path, name: str, text: str, message: str) -> None:
    (data / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        imported(data)


def test_without_the_library_the_message_names_the_extra(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaldi_native_io", None)
    with pytest.raises(
        ValueError, match=r"needs the optional package 'kaldi_native_io': pip install 'asr-parallel\[kaldi\]'"
    ):
        imported(data)


def test_the_verb_leaves_an_archive_or_nothing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "feats" / "train"
    line = ["import-kaldi-feats", "--data", str(data), "--out", str(out)]
    truncate(data)
    assert main(line) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("asr-parallel import-kaldi-feats: error: data set train: 1 of 3 utterances are bad")
    assert not out.parent.exists()
    assert main([*line, "--max-bad-share", "0.5"]) == 0
    assert (out / "dropped.txt").read_text(encoding="utf-8").startswith("b-1: ")
    same(FeatureArchive.open(out), {key: m for key, m in matrices().items() if key != "b-1"})
    assert read_kind(out)["kind"] == "kaldi"
