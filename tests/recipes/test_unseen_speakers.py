"""recipes/digits/unseen_speakers.py on tones for digits: every pair of three speakers held out in turn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "digits" / "unseen_speakers.py"
RATE = 8000
SYSTEMS = ("mono:70", "tri:80:90")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Recordings of ten digits, each two tones, by three speakers."""
    root, rng, t = tmp_path / "corpus", np.random.default_rng(0), np.arange(RATE // 8) / RATE
    (root / "recordings").mkdir(parents=True)
    for speaker, factor in (("ann", 1.0), ("bob", 0.97), ("cem", 1.03)):
        for digit in range(10):
            for index in range(7):  # the first five are for dev
                tones = [3000 * np.sin(2 * np.pi * factor * hz * t) for hz in (300 + 300 * digit, 3300 - 270 * digit)]
                sound = np.concatenate(tones) + rng.normal(0, 100, 2 * len(t))
                path = root / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, sound.astype(np.int16), RATE, subtype="PCM_16")
    return root


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.timeout(400)
def test_every_pair_is_held_out_once_and_systems_are_compared_by_speaker(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (corpus, out, "--systems", *SYSTEMS, "--speakers", "ann", "bob")
    part = run(*words, "--folds", "1/2")
    assert part.returncode == 0, part.stderr
    assert {fold.name for fold in out.iterdir()} == {"ann+cem"} and "| system" not in part.stdout
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert {fold.name for fold in out.iterdir()} == {"ann+bob", "ann+cem", "bob+cem"}
    assert {u.name for u in (out / "ann+cem" / "corpus" / "train").glob("*.wav")} == {
        u.name for u in (out / "ann+cem" / "corpus" / "train").glob("bob-*.wav")
    }
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["system", *SYSTEMS]
    assert len(rows[0]) == len(rows[2]) == 5 and " to " in rows[2][4] and not rows[1][4].strip()
    again = run(*words)
    assert again.returncode == 0 and again.stdout == done.stdout and ": building" not in again.stderr


@pytest.mark.parametrize("systems", [["tri:20:30"], ["mono"], ["tri:20"], ["mono:x"], ["dnn:1"]])
def test_systems_that_cannot_be_are_refused(corpus: Path, tmp_path: Path, systems: list[str]) -> None:
    done = run(corpus, tmp_path / "out", "--systems", *systems)
    assert done.returncode == 2 and "expected" in done.stderr and not (tmp_path / "out").exists()
