"""The frame store: padding, splicing, labels of copies, held-out splits, and what opening finds wrong."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.features import frames
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.cmvn import apply_cmvn
from asr_parallel.features.config import check_features
from asr_parallel.features.frame_writer import make_frames
from asr_parallel.features.frames import CONTEXT, FrameStore
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import write_json

DIM, NUM_PDFS = 3, 7
UTTERANCES = [("a-1", "a", 30), ("a-2", "a", 1), ("b-1", "b", 20), ("c-1", "c", 25), ("sp1.25-a-1", "sp1.25-a", 24)]


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    folder = tmp_path / "feats"
    folder.mkdir()
    random = np.random.default_rng(0)
    write_archive(folder, [(i, s, random.normal(5, 2, (n, DIM)).astype(np.float32)) for i, s, n in UTTERANCES])
    write_json(folder / "kind.json", {"kind": "fbank"})
    write_json(folder / "copies.json", {"sp1.25-a-1": ["a-1", 1.25, 1.0]})
    return folder


def labels() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {i: random.integers(0, NUM_PDFS, n).astype(np.int32) for i, _, n in UTTERANCES if i in ("a-1", "a-2", "b-1")}


@pytest.fixture
def folder(feats: Path, tmp_path: Path) -> Path:
    out = tmp_path / "frames"
    out.mkdir()
    make_frames(feats, labels(), NUM_PDFS, out)
    return out


def test_windows_are_the_normalised_frames_with_repeated_ends(feats: Path, folder: Path) -> None:
    store = FrameStore.open(folder)
    assert store.ids == ["a-1", "a-2", "b-1", "sp1.25-a-1"]
    assert (folder / "dropped.txt").read_text() == "c-1 no alignment\n"
    assert store.frames.dtype == np.float16 and store.labels.dtype == np.int16
    plain = apply_cmvn(FeatureArchive.open(feats), norm_vars=False)
    matrix = plain[0] / plain.frames.std(axis=0)
    spliced = store.gather(store.rows_of(np.array([0])))
    assert spliced.shape == (30, store.spliced_dim) == (30, 11 * DIM)
    for t in (0, 3, 17, 29):
        window = matrix[np.clip(np.arange(t - CONTEXT, t + CONTEXT + 1), 0, 29)]
        np.testing.assert_allclose(spliced[t], window.reshape(-1), atol=2e-3)
    alone = store.gather(store.rows_of(np.array([1])))  # one frame: all repeats of itself
    np.testing.assert_array_equal(alone, np.tile(alone[:, :DIM], 11))


def test_all_frames_together_have_mean_zero_and_variance_one(feats: Path, folder: Path) -> None:
    scaled = Normalisation.estimate(feats).apply(feats).frames
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)
    per_speaker = Normalisation.estimate(feats, norm_vars=True).apply(feats)
    np.testing.assert_allclose(per_speaker[2].std(axis=0), 1, atol=1e-5)


def test_labels_follow_the_speech(folder: Path) -> None:
    store = FrameStore.open(folder)
    np.testing.assert_array_equal(
        store.labels[store.rows_of(np.array([0, 1, 2]))], np.concatenate(list(labels().values()))
    )
    of_copy = store.labels[store.rows_of(np.array([3]))]
    centre = np.rint((np.arange(24) + 1.25) * 1.25 - 1.25).astype(int)
    np.testing.assert_array_equal(of_copy, labels()["a-1"][centre])
    assert np.count_nonzero(store.labels == -1) == 2 * CONTEXT * len(store.ids)


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_held_out_speech_is_not_trained_on_in_another_guise(
    folder: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FrameStore.open(folder)
    seen = set()
    for held_out_seed in range(20):
        monkeypatch.setattr(frames, "HELD_OUT_SEED", held_out_seed)
        train, held_out = store.split(0.34, by)
        group = [s if by == "utterance" else s[0] for s in store.sources]
        assert not {group[u] for u in train} & {group[u] for u in held_out}
        assert all(store.ids[u] == store.sources[u] for u in held_out)
        assert len(train) and len(held_out)
        seen.add(tuple(held_out))
        np.testing.assert_array_equal(held_out, store.split(0.34, by)[1])
    assert len(seen) > 1


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_a_smaller_share_to_train_on_lies_in_every_larger_one(folder: Path, by: str) -> None:
    store = FrameStore.open(folder)
    everything, held_out = store.split(0.2, by)
    parts = [set(store.split(0.2, by, share)[0].tolist()) for share in (1.0, 0.6, 0.3, 1e-6)]
    assert parts[0] == set(everything.tolist()) and parts[3]
    assert all(smaller <= larger for larger, smaller in itertools.pairwise(parts))
    assert by == "speaker" or len(parts[0]) > len(parts[2])  # the store has two speakers
    groups = store.groups(by)
    for part in parts:  # whole groups: copies come with what they are copies of
        names = {groups[u] for u in part}
        assert part == {u for u in parts[0] if groups[u] in names}
    np.testing.assert_array_equal(held_out, store.split(0.2, by, 0.3)[1])


def test_bad_splits(folder: Path) -> None:
    store = FrameStore.open(folder)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="expected a number between 0 and 1"):
            store.split(share, "utterance")
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="expected a number above 0 and at most 1"):
            store.split(0.1, "utterance", share)
    with pytest.raises(ValueError, match="cannot split by 'phase of the moon'; expected utterance or speaker"):
        store.split(0.1, "phase of the moon")


def test_alignments_that_do_not_fit(feats: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of its 5 utterances has an alignment"):
        make_frames(feats, {}, NUM_PDFS, tmp_path)
    with pytest.raises(ValueError, match="utterance b-1: 20 frames of features, 19 of alignment"):
        make_frames(feats, {"b-1": labels()["b-1"][1:]}, NUM_PDFS, tmp_path)


def test_opening_says_what_is_wrong(folder: Path) -> None:
    def damaged(name: str, change: object) -> None:
        good = np.load(folder / name)
        bad = good.copy()
        np.save(folder / name, change(bad))  # type: ignore[operator]
        with pytest.raises(ValueError) as caught:
            FrameStore.open(folder)
        lines.append(str(caught.value))
        np.save(folder / name, good)

    def with_value(row: int, value: float) -> object:
        def change(array: np.ndarray) -> np.ndarray:
            array[row] = value
            return array

        return change

    lines: list[str] = []
    damaged("frames.npy", lambda a: a[:-1])
    damaged("frames.npy", with_value(45, np.nan))
    damaged("frames.npy", with_value(40, -np.inf))
    damaged("labels.npy", with_value(7, NUM_PDFS))
    damaged("labels.npy", with_value(7, -1))
    damaged("labels.npy", with_value(36, 2))
    damaged("labels.npy", with_value(0, -2))
    damaged("frames.npy", lambda a: a.astype(np.float32))
    damaged("frames.npy", np.asfortranarray)
    damaged("frames.npy", lambda a: a[:, :2])
    damaged("labels.npy", lambda a: a[:, None])
    damaged("labels.npy", lambda a: a.astype(np.int64))
    assert [line.removeprefix(f"{folder}") for line in lines] == [
        ": the index counts 115 rows, frames.npy has 114, labels.npy 115",
        ": utterance a-2, row 5 of 11, is not finite",
        ": utterance a-2, row 0 of 11, is not finite",
        ": utterance a-1, row 7 of 40, has label 7; expected 0 to 6",
        ": utterance a-1, row 7 of 40, has label -1; expected 0 to 6",
        ": utterance a-1, row 36 of 40, has label 2; expected -1, for it is a repeated one",
        ": utterance a-1, row 0 of 40, has label -2; expected -1, for it is a repeated one",
        "/frames.npy: 2-dimensional float32; expected 2-dimensional float16 in C order",
        "/frames.npy: 2-dimensional float16; expected 2-dimensional float16 in C order",
        ": frames.npy has 2 dimensions, the normalisation is of 3-dimensional fbank; the features were 3-dimensional"
        " fbank",
        "/labels.npy: 2-dimensional int16; expected 1-dimensional int16 or int32 in C order",
        "/labels.npy: 1-dimensional int64; expected 1-dimensional int16 or int32 in C order",
    ]
    (folder / "labels.npy").unlink()
    with pytest.raises(ValueError, match=r"no labels\.npy; expected a frame store made by stage 4"):
        FrameStore.open(folder)


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_every_row_is_checked_whatever_the_parts_it_is_looked_at_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("asr_parallel.features.frames.CHECKED_ROWS", rows)
    good = np.load(folder / "labels.npy")
    FrameStore.open(folder)
    for row in range(len(good)):
        bad = good.copy()
        bad[row] = -1 if good[row] >= 0 else 0
        np.save(folder / "labels.npy", bad)
        with pytest.raises(ValueError, match=f"label {bad[row]}; expected"):
            FrameStore.open(folder)


@pytest.mark.parametrize("name", ["frames.npy", "labels.npy"])
def test_truncated_files_are_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for length in (0, 3, 9, 40, 128, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"{name}: truncated or not a \.npy file: .*"):
            FrameStore.open(folder)
    (folder / name).write_bytes(b"PK" + whole[2:])
    with pytest.raises(ValueError, match=r"not a \.npy file"):
        FrameStore.open(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *((key, None, f"no '{key}'; expected an index") for key in ("context", "ids", "feature_config")),
        ("context", "5", "context is a str; expected a int"),
        ("context", -1, "context below 0"),
        ("num_pdfs", True, "num_pdfs is a bool; expected a int"),
        ("frames", [30, 1, 20, 24.0], "frames holds 24.0; expected a list of int"),
        ("frames", [30, 1, 20, 0], "one without frames"),
        ("frames", [30, 1, 20], "lists of different lengths"),
        ("frames", {"a-1": 30}, "frames is a dict; expected a list"),
        ("frames", [30, 1, 20, 25], "the index counts 116 rows, frames.npy has 115"),
        ("ids", ["a-1", "a-1", "b-1", "c"], "an utterance id appears twice"),
        ("speakers", ["a", "a", None, "c"], "speakers holds None; expected a list of str"),
        ("sources", ["a-1", "a-2", "b-1", "x"], "x, the source of a copy, is not among the ids"),
        ("normalisation", {"kind": "fbank"}, "normalisation is not one made by stage 4"),
        ("normalisation", {"kind": "fbank", "norm_vars": False, "scale": ["much"]}, "normalisation is not one made"),
        ("normalisation", {"kind": "mfcc", "norm_vars": False, "scale": [1, 1, 1]}, "the normalisation is of 3-dim"),
        ("feature_config", {"kind": "fbank"}, "feature_config does not tell the features' kind and dim"),
        ("feature_config", {"kind": "fbank", "dim": 40}, "the features were 40-dimensional fbank"),
    ],
)
def test_an_index_that_is_json_but_not_an_index(folder: Path, key: str, value: object, message: str) -> None:
    index = json.loads((folder / "index.json").read_text())
    index[key] = value
    if value is None:
        del index[key]
    write_json(folder / "index.json", index)
    with pytest.raises(ValueError) as caught:
        FrameStore.open(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_index_of_another_shape(folder: Path) -> None:
    write_json(folder / "index.json", [1, 2])
    with pytest.raises(ValueError, match="expected an object with keys, not a list"):
        FrameStore.open(folder)


def test_the_store_knows_what_its_features_were_made_with(feats: Path, tmp_path: Path) -> None:
    settings = {"num_mel_bins": 40}
    write_json(feats / "kind.json", {"kind": "fbank", "settings": settings, "sample_rates": [8000]})
    write_json(feats / "stage.json", {"fingerprint": "0123", "options": {"seed": 3}})
    out = tmp_path / "frames"
    out.mkdir()
    make_frames(feats, labels(), NUM_PDFS, out)
    config = FrameStore.open(out).feature_config
    assert config == {
        "kind": "fbank",
        "settings": settings,
        "sample_rates": [8000],
        "dim": DIM,
        "options": {"seed": 3},
        "fingerprint": "0123",
    }
    check_features(config, feats)
    for change in ({"kind": "mfcc"}, {"settings": {"num_mel_bins": 23}}, {"sample_rates": [8000, 16000]}):
        write_json(feats / "kind.json", {"kind": "fbank", "settings": settings, "sample_rates": [8000]} | change)
        (name,) = change
        with pytest.raises(ValueError, match=f"features with {name} .*; the model was trained on "):
            check_features(config, feats)


def test_normalisation_refuses_other_features(feats: Path) -> None:
    made = Normalisation.estimate(feats)
    assert Normalisation.from_json(json.loads(json.dumps(made.to_json()))) == made
    write_json(feats / "kind.json", {"kind": "mfcc"})
    with pytest.raises(ValueError, match="3-dimensional mfcc features; expected 3-dimensional fbank"):
        made.apply(feats)
