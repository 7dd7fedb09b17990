"""recipes/digits/unseen_speakers.py on tones for digits: every pair of three speakers held out in turn."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "digits" / "unseen_speakers.py"
spec = importlib.util.spec_from_file_location("unseen_speakers", SCRIPT)
assert spec and spec.loader
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)
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


@pytest.mark.timeout(400)
def test_every_pair_is_held_out_once_and_systems_are_compared_by_speaker(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def run(*more: str) -> str:
        study.main([str(corpus), str(out), "--systems", *SYSTEMS, "--speakers", "ann", "bob", *more])
        return "".join(line for line in capsys.readouterr().out.splitlines(keepends=True) if line.startswith("|"))

    assert run("--folds", "1/2") == "" and [fold.name for fold in out.iterdir()] == ["ann+cem"]
    assert {path.name.split("-")[0] for path in (out / "ann+cem" / "corpus" / "train").glob("*.wav")} == {"bob"}
    assert {path.name.split("-")[0] for path in (out / "ann+cem" / "corpus" / "eval").glob("*.wav")} == {"ann", "cem"}
    done = run()
    assert {fold.name for fold in out.iterdir()} == {"ann+bob", "ann+cem", "bob+cem"}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.splitlines()]
    assert [row[0] for row in rows] == ["system", "---", *SYSTEMS] and rows[0][1:4] == ["ann", "bob", "mean"]
    assert rows[2][4] == "" and " to " in rows[3][4]
    model = out / "bob+cem" / "tri_80_90" / "gmm.safetensors"
    before = model.stat().st_mtime_ns
    assert run() == done and model.stat().st_mtime_ns == before


@pytest.mark.parametrize("system", ["mono", "tri:20", "mono:x", "dnn:1", "tri:20:30:40"])
def test_systems_that_cannot_be_are_refused(system: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected mono:GAUSSIANS or tri:LEAVES:GAUSSIANS"):
        study.checked(system)


@pytest.mark.parametrize("text", ["1", "2/2", "a/b", "-1/2"])
def test_shares_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected K/N"):
        study.share(text)


@pytest.mark.parametrize("words", [["--systems", "tri:20:30"], ["--systems", "mono:9", "--speakers", "dan"]])
def test_what_no_fold_could_use_is_refused_at_once(corpus: Path, tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        study.main([str(corpus), str(tmp_path / "out"), *words])
    assert stopped.value.code == 2 and not (tmp_path / "out").exists()
