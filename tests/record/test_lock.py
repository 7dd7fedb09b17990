"""Two runs in one folder: the second is refused, and what a killed one has left is in nobody's way."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.record.lock import locked, output_folder
from asr_parallel.record.log import logger
from asr_parallel.record.stage import run_stage

# Builds until a line comes; "fork" leaves a child that outlives it
BUILDER = """
import os, sys, time
from pathlib import Path
from asr_parallel.record.stage import run_stage

def build(folder):
    (folder / "of").write_text(str(os.getpid()))
    if "fork" in sys.argv and not os.fork():
        time.sleep(30)
        os._exit(0)
    print("ready", flush=True)
    sys.stdin.readline()

run_stage(Path(sys.argv[1]), build, number=1, inputs={}, options={"seed": sys.argv[2]})
"""


@contextmanager
def builder(out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", BUILDER, str(out), *(more or ("1",))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def build(folder: Path) -> None:
    (folder / "of").write_text("another")


def test_folders_made_for_a_lock_go_with_it_unless_something_is_in_them(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b" / ".out.lock").is_file()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "a" / "b" / "out"):
        (tmp_path / "a" / "kept").mkdir()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, where nothing can be made")
def test_a_folder_that_cannot_be_made_is_an_error_at_once() -> None:
    for parent in ("/proc", "/proc/none"):
        with pytest.raises(OSError, match="No such file"), locked(Path(parent) / "out"):
            pass


@pytest.mark.timeout(60)
def test_a_second_run_is_refused_and_names_the_first(tmp_path: Path) -> None:
    out = tmp_path / "exp" / "out"
    with builder(out) as first:
        for seed in ("1", "2"):
            with pytest.raises(ValueError, match=f"out: process {first.pid} on {socket.gethostname()}, .* is making"):
                run_stage(out, build, number=1, inputs={}, options={"seed": seed})
        first.communicate("go on\n", timeout=30)
        assert first.returncode == 0
    assert (out / "of").read_text() == str(first.pid)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert not run_stage(out, build, number=1, inputs={}, options={"seed": "1"})
    assert run_stage(out, build, number=1, inputs={}, options={"seed": "2"})


@pytest.mark.timeout(60)
@pytest.mark.parametrize("more", [(), ("1", "fork")], ids=["alone", "with a child that lives on"])
def test_a_killed_run_is_in_nobodys_way(tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    with builder(out, *more) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        assert json.loads((tmp_path / ".out.lock").read_text())["pid"] == first.pid
        assert run_stage(out, build, number=1, inputs={}, options={"seed": "1"})
    assert (out / "of").read_text() == "another"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


FEATURES = """
import sys, time
from asr_parallel.cli.main import main
from asr_parallel.features import compute

class Slow:
    @staticmethod
    def from_archive(archive):
        print("ready", flush=True)
        time.sleep(60)

compute.CmvnStats = Slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.timeout(60)
def test_two_runs_of_make_features_do_not_take_each_other_s_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).integers(-999, 999, 8000).astype(np.int16), 8000)
    for name, line in {"wav.scp": f"a {tmp_path / 'a.wav'}", "text": "a yes", "utt2spk": "a s"}.items():
        (tmp_path / "kaldi" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "kaldi" / name).write_text(line + "\n")
    assert main(["import-kaldi", "--from", str(tmp_path / "kaldi"), "--out", str(tmp_path / "data")]) == 0
    words = ["make-features", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "feats")]
    with subprocess.Popen([sys.executable, "-c", FEATURES, *words], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        (tmp_path / ".feats.partial" / "stranger").touch()
        assert main(words) == 1
        assert f"feats: process {first.pid} on " in capsys.readouterr().err.splitlines()[-1]
        assert (tmp_path / ".feats.partial" / "feats.npy").is_file()
        first.kill()
    assert main(words) == 0
    made = {"feats.npy", "utterances.json", "kind.json", "cmvn.npz", "skipped.txt", "stage.json", ".digests.json"}
    assert {path.name for path in (tmp_path / "feats").iterdir()} == made
    assert not list(tmp_path.glob(".*"))


@pytest.mark.timeout(60)
def test_two_names_of_one_folder_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "out").symlink_to("large/out")
    with builder(tmp_path / "out"), pytest.raises(ValueError, match="is making it"):
        run_stage(tmp_path / "large" / "out", build, number=1, inputs={}, options={})


@pytest.mark.timeout(60)
def test_many_that_come_at_once_never_are_inside_together(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from asr_parallel.record.lock import locked
folder, inside = Path(sys.argv[1]), 0
deadline = time.monotonic() + 2
while time.monotonic() < deadline:
    try:
        with locked(folder / "out"):
            (folder / "inside").touch(exist_ok=False)  # FileExistsError, where another is
            (folder / "inside").unlink()
            inside += 1
    except ValueError:
        pass
print(inside)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    turns = [int(process.communicate(timeout=50)[0]) for process in running]
    assert sum(turns) > 10 and all(process.returncode == 0 for process in running)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    said: list[str] = []
    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(logger, "warning", lambda text, *_: said.append(text))
    for seed in (1, 2):
        assert run_stage(tmp_path / "out", build, number=1, inputs={}, options={"seed": seed})
    assert len(said) == 1 and "has no locks" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_finished_stage_is_read_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(tmp_path / "out", build, number=1, inputs={}, options={})

    def read_only(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    done: list[bool] = []
    assert not run_stage(tmp_path / "out", build, number=1, inputs={}, options={})
    assert not run_stage(tmp_path / "out", build, number=1, inputs={}, options={}, finish=lambda: done.append(True))
    assert done == [True]


@pytest.mark.parametrize("name", [".", "..", "/", ""])
def test_the_current_folder_and_those_above_are_no_result(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected the name of a folder to make"):
        output_folder(Path(name))
    with pytest.raises(ValueError, match="expected the name of a folder to make"), locked(Path(name)):
        pass
    assert output_folder(Path("out")) == tmp_path.resolve() / "out"


def test_links_in_a_ring_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="a: symbolic links that lead to each other"):
        run_stage(tmp_path / "a", build, number=1, inputs={}, options={})
