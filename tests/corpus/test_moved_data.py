"""Data and features follow their sound files: moved ones are found, changed ones noticed, touched ones left alone."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.record.files import read_json


def write_sound(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).integers(-999, 999, 40000).astype(np.int16), 8000)


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """An experiment with its sounds inside."""
    exp = tmp_path / "exp"
    for n in range(3):
        write_sound(exp / "wavs" / f"r{n}.wav", n)
    return exp


def kaldi(exp: Path, wavs: Path) -> Path:
    """A Kaldi data directory of sounds somewhere."""
    source = exp / "kaldi"
    source.mkdir(exist_ok=True)
    (source / "wav.scp").write_text("".join(f"r{n} {wavs / f'r{n}.wav'}\n" for n in range(3)))
    (source / "text").write_text("".join(f"r{n} yes\n" for n in range(3)))
    (source / "utt2spk").write_text("".join(f"r{n} s{n}\n" for n in range(3)))
    return source


def made(exp: Path, source: Path | None = None) -> list[str]:
    """Which of stages 0 and 2 ran."""
    stages = {
        "data": ["import-kaldi", "--from", str(source), "--out", str(exp / "data" / "train")],
        "feats": ["make-features", "--data", str(exp / "data" / "train"), "--out", str(exp / "feats")],
    }
    ran = []
    for name, words in stages.items():
        record = Path(words[-1]) / "stage.json"
        before = record.stat().st_ino if record.exists() else None
        if name != "data" or source is not None:
            assert main(words) == 0
            if record.stat().st_ino != before:
                ran.append(name)
    return ran


def features(exp: Path) -> np.ndarray:
    return np.array(FeatureArchive.open(exp / "feats").frames)


def test_a_replaced_recording_is_noticed_and_a_touched_one_is_not(exp: Path) -> None:
    source, path = kaldi(exp, exp / "wavs"), exp / "wavs" / "r1.wav"
    assert made(exp, source) == ["data", "feats"]
    old, stat = features(exp), path.stat()
    write_sound(path, seed=9)  # of the same length and name
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert made(exp) == ["feats"]  # also where only stage 2 is run
    assert made(exp, source) == ["data", "feats"]
    assert (features(exp) != old).any()
    path.touch()
    os.utime(exp / "wavs" / "r2.wav", (1, 1))
    assert made(exp, source) == []


def test_a_moved_and_a_copied_experiment_have_nothing_to_do(exp: Path, tmp_path: Path) -> None:
    assert made(exp, kaldi(exp, exp / "wavs")) == ["data", "feats"]
    moved = exp.rename(tmp_path / "other place")
    assert {u.path.parent for u in read_utterances(moved / "data" / "train")} == {moved / "wavs"}
    assert made(moved) == []
    assert made(moved, kaldi(moved, moved / "wavs")) == []
    copied = shutil.copytree(moved, tmp_path / "deep" / "copy", copy_function=shutil.copyfile)
    write_sound(moved / "wavs" / "r0.wav", seed=9)  # is nothing to the copy
    assert made(copied, kaldi(copied, copied / "wavs")) == []
    write_sound(copied / "wavs" / "r0.wav", seed=8)
    assert made(copied) == ["feats"]
    assert {u.path.parent for u in read_utterances(copied / "data" / "train")} == {copied / "wavs"}


def test_discs_mounted_elsewhere_give_new_manifests_and_the_old_features(exp: Path, tmp_path: Path) -> None:
    discs = (exp / "wavs").rename(tmp_path / "discs")
    assert made(exp, kaldi(exp, discs)) == ["data", "feats"]
    assert made(exp.rename(tmp_path / "moved"), kaldi(tmp_path / "moved", discs)) == []
    exp = (tmp_path / "moved").rename(exp)
    mounted = discs.rename(tmp_path / "mounted")
    assert made(exp, kaldi(exp, mounted)) == ["data"]
    assert {u.path.parent for u in read_utterances(exp / "data" / "train")} == {mounted}
    assert made(exp, kaldi(exp, mounted)) == []


def prepare(tree: Path, exp: Path) -> list[str]:
    below = {
        "audio": "LDC97S62", "transcripts": "swb_ms98_transcriptions", "eval-audio": "LDC2002S09",
        "eval-transcripts": "LDC2002T43",
    }  # fmt: skip
    return ["prepare-swbd", "--out", str(exp / "data"), *(w for k, v in below.items() for w in (f"--{k}", tree / v))]


def test_discs_in_a_moved_experiment_and_a_changed_side(tree: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    exp.mkdir()
    corpus = tree.rename(exp / "corpus")
    stages = [exp / "data" / name for name in ("train", "dev", "eval")]

    def ran(exp: Path, corpus: Path) -> list[str]:
        folders = [exp / stage.relative_to(tmp_path / "exp") for stage in stages]
        before = {
            folder: (folder / "stage.json").exists() and (folder / "stage.json").stat().st_ino for folder in folders
        }
        assert main([str(word) for word in prepare(corpus, exp)]) == 0
        return [folder.name for folder, inode in before.items() if (folder / "stage.json").stat().st_ino != inode]

    assert ran(exp, corpus) == ["train", "dev", "eval"]
    prints = [read_json(stage / "stage.json")["fingerprint"] for stage in stages]
    moved = exp.rename(tmp_path / "moved")
    assert ran(moved, moved / "corpus") == []
    discs = (moved / "corpus").rename(tmp_path / "discs")
    assert ran(moved, discs) == ["train", "dev", "eval"]
    assert [read_json(moved / s.relative_to(exp) / "stage.json")["fingerprint"] for s in stages] == prints
    sides = sorted((discs / "LDC97S62").rglob("*.sph"))
    stat, data = sides[0].stat(), sides[0].read_bytes()
    sides[0].write_bytes(data[:1024] + data[:1023:-1])
    os.utime(sides[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ran(moved, discs) == ["train", "dev"]
    sides[0].touch()
    assert ran(moved, discs) == []
    stm = next(discs.rglob("*.stm"))
    stm.write_text(stm.read_text() + ";; a comment\n")
    assert ran(moved, discs) == ["eval"]


def test_a_changed_joined_recording_of_digits_is_noticed(digit_corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    words = ["prepare-digits", "--corpus", str(digit_corpus), "--test-speakers", "bob", "--out"]
    assert main([*words, str(exp)]) == 0
    records = sorted(exp.rglob("stage.json"))
    inodes = [record.stat().st_ino for record in records]
    assert main([*words, str(exp)]) == 0 and [record.stat().st_ino for record in records] == inodes
    path = next((exp / "corpus" / "train").glob("*.wav"))
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples[::-1], rate)
    assert main([*words, str(exp)]) == 0
    changed = {r.parent.name for r, inode in zip(records, inodes, strict=True) if r.stat().st_ino != inode}
    assert changed == {"train"}
    moved = exp.rename(tmp_path / "moved")
    assert all(u.path.is_file() and u.path.is_relative_to(moved) for u in read_utterances(moved / "data" / "train"))


def test_a_left_out_speaker_s_data_know_where_the_sounds_are_now(exp: Path, tmp_path: Path) -> None:
    source = kaldi(exp, exp / "wavs")
    for name in ("train", "dev"):
        assert main(["import-kaldi", "--from", str(source), "--out", str(exp / "data" / name)]) == 0
    moved = exp.rename(tmp_path / "moved")
    words = ["leave-speaker-out", "--data", str(moved / "data"), "--speaker", "s1", "--out", str(moved / "left")]
    assert main(words) == 0
    further = moved.rename(tmp_path / "further")
    for part in ("train", "dev", "eval"):
        assert {u.path.parent for u in read_utterances(further / "left" / part)} == {further / "wavs"}
