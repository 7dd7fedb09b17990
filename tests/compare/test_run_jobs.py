"""Jobs of a comparison, in real processes."""

from pathlib import Path

import pytest

from asr_parallel.compare.run import Job, run_jobs

SMALL = ["--hidden-layers", "1", "--hidden-dim", "8", "--epochs", "1", "--combine", "0", "--threads", "1"]


def job(folder: Path, name: str, frames: Path) -> Job:
    verb = ("train-dnn", "--frames", str(frames), "--out", str(folder / name), *SMALL)
    return Job(name, (verb,), folder / f"{name}.log", folder / f"{name}.failed.json")


@pytest.mark.timeout(200)
def test_one_that_fails_stops_no_other_and_says_why(tmp_path: Path, frames_folder: Path) -> None:
    bad, good = job(tmp_path, "bad", tmp_path / "nowhere"), job(tmp_path, "good", frames_folder)
    good.failed.write_text('{"last": "no space left", "status": 1}')
    assert good.failure == "no space left"
    assert run_jobs([bad, good], at_once=1) == ["bad"]
    assert bad.failure is not None and "nowhere" in bad.failure and "error" in bad.failure
    assert good.failure is None  # any more
    assert (tmp_path / "good" / "net.safetensors").is_file()
    assert "train-dnn" in good.log.read_text()
