"""Features that Kaldi's programs wrote: plain, normalised, with deltas, and compressed."""

from pathlib import Path

import numpy as np
import pytest
from kaldi_golden import GOLDEN, matrices

from asr_parallel.cli.main import main
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.deltas import add_deltas

pytest.importorskip("kaldi_native_io")


def imported(data: Path, out: Path, *more: str) -> dict[str, np.ndarray]:
    assert main(["import-kaldi-feats", "--data", str(data), "--out", str(out), *more]) == 0
    archive = FeatureArchive.open(out)
    return {key: archive[n] for n, key in enumerate(archive.ids)}


def test_plain_features_are_kaldis(tmp_path: Path) -> None:
    found, expected = imported(GOLDEN / "data", tmp_path / "out", "--cmvn", "none"), matrices("data/feats.ark")
    assert list(found) == list(expected)
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("cmvn", "name"), [("mean", "mean"), ("mean-var", "mean_var")])
def test_normalised_features_are_those_of_apply_cmvn(tmp_path: Path, cmvn: str, name: str) -> None:
    found = imported(GOLDEN / "data", tmp_path / "out", "--cmvn", cmvn)
    for key, expected in matrices(f"data/{name}.ark").items():
        np.testing.assert_allclose(found[key], expected, atol=1e-5)


def test_deltas_are_those_of_add_deltas() -> None:
    features = matrices("data/feats.ark")
    for key, expected in matrices("data/deltas.ark").items():
        np.testing.assert_allclose(add_deltas(features[key]), expected, atol=1e-5)


@pytest.mark.parametrize("method", [2, 3, 4, 5, 6])
def test_compressed_features_are_what_kaldi_makes_of_them(tmp_path: Path, method: int) -> None:
    expected = matrices(f"compressed/{method}.plain.ark")
    scp = (GOLDEN / "compressed" / f"{method}.scp").read_text(encoding="utf-8")
    (tmp_path / "feats.scp").write_text(scp, encoding="utf-8")
    (tmp_path / f"{method}.ark").write_bytes((GOLDEN / "compressed" / f"{method}.ark").read_bytes())
    (tmp_path / "utt2spk").write_text("".join(f"{key} {key[:2]}\n" for key in expected), encoding="utf-8")
    found = imported(tmp_path, tmp_path / "out")
    for key, matrix in expected.items():
        np.testing.assert_allclose(found[key], matrix, atol=1e-5)
