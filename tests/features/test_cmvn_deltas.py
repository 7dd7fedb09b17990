"""Normalisation and derivatives against hand-worked cases."""

from pathlib import Path

import numpy as np
import pytest

from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.cmvn import CmvnStats, apply_cmvn
from asr_parallel.features.deltas import add_deltas, delta_filters, gmm_features


def archive(folder: Path) -> FeatureArchive:
    random = np.random.default_rng(1)
    write_archive(
        folder,
        [
            ("u1", "anna", 100 + 3 * random.standard_normal((50, 4), dtype=np.float32)),
            ("u2", "ben", -5 + random.standard_normal((20, 4), dtype=np.float32)),
            ("u3", "anna", 90 + random.standard_normal((30, 4), dtype=np.float32)),
        ],
    )
    return FeatureArchive.open(folder)


def test_each_speaker_is_normalised_over_all_its_utterances(tmp_path: Path) -> None:
    plain = archive(tmp_path)
    for norm_vars in (False, True):
        done = apply_cmvn(plain, norm_vars)
        anna, ben = np.concatenate([done[0], done[2]]), done[1]
        np.testing.assert_allclose(anna.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(ben.mean(0), 0, atol=1e-4)
        if norm_vars:
            np.testing.assert_allclose(anna.std(0), 1, atol=1e-4)
            np.testing.assert_allclose(ben.std(0), 1, atol=1e-4)
        else:
            np.testing.assert_allclose(done[0] - done[0][:1], plain[0] - plain[0][:1], atol=1e-4)
        assert done.ids == plain.ids


def test_statistics_survive_the_disk(tmp_path: Path) -> None:
    stats = CmvnStats.from_archive(archive(tmp_path))
    stats.save(tmp_path / "cmvn.npz")
    again = CmvnStats.open(tmp_path / "cmvn.npz")
    assert again.speakers == ["anna", "ben"]
    np.testing.assert_array_equal(again.counts, [80, 20])
    np.testing.assert_array_equal(again.sums, stats.sums)
    with pytest.raises(ValueError, match=r"no\.npz: no such file"):
        CmvnStats.open(tmp_path / "no.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="not CMVN statistics"):
        CmvnStats.open(tmp_path / "bad.npz")


def test_filters_are_kaldis() -> None:
    zero, one, two = delta_filters(2, 2)
    np.testing.assert_allclose(zero, [1])
    np.testing.assert_allclose(np.abs(one), np.array([2, 1, 0, 1, 2]) / 10)
    np.testing.assert_allclose(two, np.array([4, 4, 1, -4, -10, -4, 1, 4, 4]) / 100)


def test_deltas_of_a_line_and_of_a_square() -> None:
    t = np.arange(20, dtype=np.float32)
    got = add_deltas(np.stack([3 * t + 1, t**2], axis=1))
    assert got.shape == (20, 6)
    inside = slice(4, -4)  # away from the repeated ends
    np.testing.assert_allclose(got[inside, 2], 3, rtol=1e-5)
    np.testing.assert_allclose(got[inside, 4], 0, atol=1e-4)
    np.testing.assert_allclose(got[inside, 3], 2 * t[inside], rtol=1e-4)
    np.testing.assert_allclose(got[inside, 5], 2, rtol=1e-4)


def test_ends_count_as_repeated() -> None:
    x = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    got = add_deltas(x, order=1)
    # slope at t: sum over k of k * x[t + k] / 10, indices held inside
    np.testing.assert_allclose(
        got[:, 1], [(1 * (2 - 1) + 2 * (4 - 1)) / 10, (3 + 2 * 3) / 10, (2 + 2 * 3) / 10], rtol=1e-6
    )
    assert add_deltas(x[:0]).shape == (0, 3)


def test_gmm_features(tmp_path: Path) -> None:
    plain = archive(tmp_path)
    got = gmm_features(tmp_path)
    assert (got.dim, got.ids, got.speakers) == (12, plain.ids, plain.speakers)
    np.testing.assert_allclose(got[2], add_deltas(apply_cmvn(plain, norm_vars=False)[2]), rtol=1e-6)
