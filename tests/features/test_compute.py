"""Stage 2 from data folder to archive: cutting, channels, perturbed copies, processes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.datadir import write_data
from asr_parallel.features import compute
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.augment import Perturbation, change_speed, frame_map, perturbations
from asr_parallel.features.cmvn import CmvnStats
from asr_parallel.features.compute import FeatureOptions, add_noise, compute_features, speech_level
from asr_parallel.features.extractors import BACKENDS, open_extractor
from asr_parallel.record.files import read_json
from asr_parallel.record.log import logger

INSTALLED = [b for b in BACKENDS if b != "torchaudio" or importlib.util.find_spec("torchaudio")]
SEGMENTS = [  # id, recording, channel, start, duration, speaker
    ("b-2", "r1", 1, 0.5, 1.25, "b"),
    ("a-1", "r1", 0, 0.0, 1.0, "a"),
    ("a-2", "r2", 0, 0.25, 0.5, "a"),
    ("c-short", "r2", 1, 0.0, 0.02, "c"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    folder = tmp_path / "data with $ and space"
    folder.mkdir()
    random = np.random.default_rng(3)
    recordings = []
    for name in ("r1", "r2"):
        soundfile.write(folder / f"{name}.wav", 0.1 * random.standard_normal((16000, 2)), 8000)
        recordings.append(Recording.from_file(folder / f"{name}.wav", recording_id=name))
    segments = [SupervisionSegment(u, r, s, d, c, text="x", speaker=k) for u, r, c, s, d, k in SEGMENTS]
    write_data(folder, RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(segments))
    return folder


def made(data: Path, out: Path, jobs: int = 1, **options: object) -> FeatureArchive:
    out.mkdir()
    options = {"dither": 0.0} | options
    compute_features(data, out, FeatureOptions("fbank", **options), jobs)  # type: ignore[arg-type]
    return FeatureArchive.open(out)


def test_utterances_are_cut_from_their_channel(data: Path, tmp_path: Path) -> None:
    archive = made(data, tmp_path / "out")
    assert archive.ids == ["a-1", "b-2", "a-2"]
    assert archive.speakers == ["a", "b", "a"]
    samples = read_audio(data / "r1.wav", channel=1)
    (want,) = open_extractor("fbank", 8000)([samples[4000:14000]])
    np.testing.assert_allclose(archive[1], want, atol=1e-4)
    assert (tmp_path / "out/skipped.txt").read_text() == "c-short too short for one frame\n"
    assert CmvnStats.open(tmp_path / "out/cmvn.npz").speakers == ["a", "b"]
    assert not (tmp_path / "out/copies.json").exists()
    kind = read_json(tmp_path / "out/kind.json")
    assert (kind["kind"], kind["sample_rates"], kind["settings"]["num_mel_bins"]) == ("fbank", [8000], 40)


def test_processes_do_not_change_the_result(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "BATCH_SECONDS", 0.1)
    monkeypatch.setattr(compute, "PROCESSES_FROM_SECONDS", 0.0)
    one = made(data, tmp_path / "one", jobs=1, dither=1.0)
    two = made(data, tmp_path / "two", jobs=2, dither=1.0)
    assert one.ids == two.ids
    np.testing.assert_array_equal(one.frames, two.frames)


def test_dither_follows_its_seed(data: Path, tmp_path: Path) -> None:
    plain = made(data, tmp_path / "plain")
    first = made(data, tmp_path / "first", dither=1.0)
    second = made(data, tmp_path / "second", dither=1.0, seed=1)
    assert 0 < np.abs(first.frames - plain.frames).max() < 0.5
    assert (first.frames != second.frames).any()


def test_the_speech_level_is_that_of_the_louder_frames() -> None:
    loud, quiet = np.full(6000, 400.0), np.full(2000, 1.0)
    assert speech_level(np.concatenate([quiet, loud, quiet]), 8000) == pytest.approx(400.0)
    assert speech_level(np.ones(199), 8000) == 0.0  # no whole frame


def test_a_noise_floor_lies_below_the_speech_whatever_its_level() -> None:
    options = FeatureOptions("fbank", dither=0.0)
    speech = 100 * np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    noise = add_noise(speech, 8000, "u", options, 20.0) - speech
    assert noise.std() == pytest.approx(0.1 * speech_level(speech, 8000), rel=0.05)
    np.testing.assert_allclose(
        add_noise(50 * speech, 8000, "u", options, 20.0), 50 * (speech + noise), rtol=1e-4, atol=0.1
    )
    assert (add_noise(speech, 8000, "another", options, 20.0) - speech != noise).any()


def test_the_first_noise_floor_is_the_original(data: Path, tmp_path: Path) -> None:
    archive = made(data, tmp_path / "out", warp_factors=(1.0, 1.1), noise_floors_db=(25.0, 15.0))
    origins = read_json(tmp_path / "out/copies.json")
    assert set(archive.ids) - set(origins) == {"a-1", "a-2", "b-2"}
    assert origins["wf1.1-nf15-a-1"] == ["a-1", 1.0, 1.1]
    assert {"nf15-a", "wf1.1-a", "wf1.1-nf15-a"} < set(archive.speakers)


def test_perturbed_copies(data: Path, tmp_path: Path) -> None:
    archive = made(data, tmp_path / "out", speed_factors=(1.0, 0.8), warp_factors=(1.0, 1.1))
    assert len(archive) == 3 * 4 + 2  # slowed down, the short one has a frame too
    origins = read_json(tmp_path / "out/copies.json")
    assert origins["sp0.8-wf1.1-a-1"] == ["a-1", 0.8, 1.1]
    assert set(archive.ids) - set(origins) == {"a-1", "a-2", "b-2"}
    assert "sp0.8-wf1.1-a" in archive.speakers
    slow = change_speed(read_audio(data / "r1.wav")[:8000], 0.8)
    assert len(slow) == 10000
    (want,) = open_extractor("fbank", 8000, warp=1.1)([slow])
    np.testing.assert_allclose(archive[archive.ids.index("sp0.8-wf1.1-a-1")], want, atol=1e-4)


def test_speed_moves_pitch_and_length() -> None:
    t = np.arange(8000) / 8000
    fast = change_speed(np.sin(2 * np.pi * 400 * t).astype(np.float32), 1.1)
    assert len(fast) == 7273
    assert np.abs(np.fft.rfft(fast[:7200])).argmax() * 8000 / 7200 == pytest.approx(440, abs=1.2)


def test_frame_map_follows_the_speech() -> None:
    np.testing.assert_array_equal(frame_map(5, 1.0, 5), np.arange(5))
    slow, fast = frame_map(125, 0.8, 100), frame_map(80, 1.25, 100)
    assert (slow[0], slow[-1], fast[0], fast[-1]) == (0, 99, 0, 99)
    np.testing.assert_allclose(slow, 0.8 * np.arange(125), atol=1)
    np.testing.assert_allclose(fast, 1.25 * np.arange(80), atol=1)


def test_perturbations_are_checked() -> None:
    assert [p.prefix for p in perturbations([1.0, 0.9], [1.0])] == ["", "sp0.9-"]
    assert Perturbation(1.1, 0.95).prefix == "sp1.1-wf0.95-"
    with pytest.raises(ValueError, match=r"speed factors \[0.9\]: expected different numbers with 1.0 among them"):
        perturbations([0.9], [1.0])
    with pytest.raises(ValueError, match=r"expected numbers from 0\.5 to 2"):
        perturbations([1.0], [1.0, 0.0])


def damage_bytes(path: Path) -> None:
    path.write_bytes(b"not audio")


def damage_sample(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    samples[3000, 0] = np.nan  # in a-2 alone
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "lost", "reason"),
    [
        (Path.unlink, ["a-2", "c-short"], "cannot be read"),
        (damage_bytes, ["a-2", "c-short"], "not a readable sound file"),
        (damage_sample, ["a-2"], "sample 3000 is nan"),
    ],
)
def test_what_cannot_be_read_is_named_and_dropped_up_to_a_limit(
    data: Path, tmp_path: Path, damage: Callable[[Path], None], lost: list[str], reason: str
) -> None:
    whole = made(data, tmp_path / "whole", warp_factors=(1.0, 1.1))
    damage(data / "r2.wav")
    with pytest.raises(ValueError, match=rf"{len(lost)} of 4 utterances are bad.*a-2: .*r2\.wav: {reason}"):
        made(data, tmp_path / "refused")
    out = tmp_path / "out"
    out.mkdir()
    options = FeatureOptions("fbank", dither=0.0, warp_factors=(1.0, 1.1))
    compute_features(data, out, options, max_bad_share=0.5)
    archive = FeatureArchive.open(out)
    assert set(archive.ids) == {"a-1", "b-2", "wf1.1-a-1", "wf1.1-b-2"}
    for utterance, matrix in zip(archive.ids, archive, strict=True):  # the rest as if nothing had happened
        np.testing.assert_allclose(matrix, whole[whole.ids.index(utterance)], atol=1e-4)
    skipped = (out / "skipped.txt").read_text().splitlines()
    assert [line.split()[0] for line in skipped if reason in line] == lost


def test_nothing_readable_names_the_first(data: Path, tmp_path: Path) -> None:
    for name in ("r1.wav", "r2.wav"):
        damage_bytes(data / name)
    with pytest.raises(ValueError, match=r"none of 4 utterances is usable; the first: a-1: .*r1\.wav"):
        made(data, tmp_path / "out")


@pytest.mark.parametrize("backend", INSTALLED)
def test_digital_silence_varies_as_silence_does(data: Path, tmp_path: Path, backend: str) -> None:
    samples, rate = soundfile.read(data / "r1.wav")
    samples[:8000] = 0
    soundfile.write(data / "r1.wav", samples, rate)
    still = made(data, tmp_path / "still", feature_backend=backend)[0]
    assert still.std(axis=0).max() < 1e-3
    (tmp_path / "out").mkdir()
    compute_features(data, tmp_path / "out", FeatureOptions("fbank", backend))
    varied = FeatureArchive.open(tmp_path / "out")[0]
    assert np.isfinite(varied).all() and 0.2 < varied.std(axis=0).min() < varied.std(axis=0).max() < 2
    again = add_noise(np.zeros(8000, np.float32), rate, "a-1", FeatureOptions("fbank"))
    (want,) = open_extractor("fbank", rate)([again])  # the same noise whatever the engine
    np.testing.assert_allclose(varied, want, atol=1e-2)


def test_utterances_of_zeros_are_counted_in_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    samples, rate = soundfile.read(data / "r1.wav")
    samples[:, 0] = 0
    soundfile.write(data / "r1.wav", samples, rate)
    with caplog.at_level("WARNING"):
        made(data, tmp_path / "out", dither=1.0)
    assert "1 utterances are digital silence throughout: a-1" in caplog.text


def test_bad_options(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed -1: expected"):
        made(data, tmp_path / "seed", seed=-1)
    with pytest.raises(ValueError, match="dither nan: expected"):
        made(data, tmp_path / "dither", dither=float("nan"))


def test_the_verb(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["make-features", "--data", str(data), "--kind", "mfcc", "--out", str(tmp_path / "E"), "--jobs", "1"]
    assert main(command) == 0
    assert read_json(tmp_path / "E/stage.json")["stage"] == 2
    assert FeatureArchive.open(tmp_path / "E").dim == 13
    assert main([*command[:2], str(tmp_path / "nowhere"), *command[3:]]) == 1
    assert "nowhere: does not exist" in capsys.readouterr().err
