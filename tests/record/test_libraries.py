"""Libraries where nothing but the result's folder, and perhaps a temporary one, can be written."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_parallel.record.libraries import set_up_libraries, temporary_folder

PACKAGE = Path(__file__).resolve().parents[2] / "asr_parallel"
USER = 23456  # of no name and no home


@pytest.fixture
def installed() -> Iterator[Path]:
    """A folder that others may look into, with a copy of the package in `lib` that has compiled nothing yet."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(PACKAGE, folder / "lib" / "asr_parallel", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [folder / "lib", *(folder / "lib").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in [folder / "lib", *(path for path in (folder / "lib").rglob("*") if path.is_dir())]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def unprivileged(folder: Path, home: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    """The program run by a user who can read everything and write nothing but FOLDER/tmp and FOLDER/out."""
    who = []
    for name in ("tmp", "out"):
        (folder / name).mkdir(exist_ok=True)
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and there is no setpriv to be somebody else with")
        for name in ("tmp", "out"):
            os.chown(folder / name, USER, USER)
        may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        who = [setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *may_read]
    left = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NUMBA_", "MPL", "HOME"))}
    own = {"PYTHONPATH": str(folder / "lib"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [*who, sys.executable, "-m", "asr_parallel.cli.main", *words]
    env = left | own | ({} if home is None else {"HOME": home})
    return subprocess.run(command, cwd=folder / "out", env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.timeout(300)
def test_users_without_a_home_train_with_a_read_only_installation(installed: Path, frames_folder: Path) -> None:
    """One whose home is not there, and one who has none: what was compiled for the first is there for the second."""
    homes = ["/proc/nowhere"] if os.geteuid() else ["/proc/nowhere", None]  # this user may have a home of its own
    shutil.copytree(frames_folder, installed / "frames")
    size = ["--hidden-layers", "1", "--hidden-dim", "8", "--minibatch", "64", "--epochs", "1", "--precision", "float32"]
    out, compiled = installed / "out", dict[Path, int]()
    for n, home in enumerate(homes):
        helped = unprivileged(installed, home, "decode", "--help")
        assert helped.returncode == 0 and helped.stderr == "" and "--graph" in helped.stdout
        net = out / f"net{n}"
        done = unprivileged(
            installed, home, "train-dnn", "--frames", str(installed / "frames"), "--out", net.name, *size
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "create" not in done.stderr  # as matplotlib and lhotse would say
        assert (net / "net.safetensors").is_file() and (net / "curves.png").is_file()
        assert [path.name for path in out.iterdir() if path.name.startswith(("~", "."))] == []
        found = {path: path.stat().st_mtime_ns for path in (installed / "tmp").rglob("*.nbi")}
        assert found and (not compiled or found == compiled)  # compiled once, not in every run
        compiled = found
        assert not list((installed / "lib").rglob("__pycache__"))


def test_functions_are_compiled_where_no_cache_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import CacheImpl

    from asr_parallel.record.compiled import njit

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    @njit(nogil=True)
    def twice(x: float) -> float:
        return 2 * x

    assert twice(4.0) == 8.0


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    for given in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}):
        environment = {"HOME": str(tmp_path), **given}
        set_up_libraries(environment)
        assert environment == {"HOME": str(tmp_path), **given}
    environment = {"HOME": str(tmp_path / "to" / "be" / "made")}
    set_up_libraries(environment)
    assert environment == {"HOME": str(tmp_path / "to" / "be" / "made"), "OMP_WAIT_POLICY": "PASSIVE"}


def test_the_program_sets_variables_before_any_library_is_there() -> None:
    script = """
import os, sys
from asr_parallel.record import program
assert not {"torch", "numpy", "numba", "matplotlib"} & sys.modules.keys()
program._check_paths = lambda args: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
program.main(["results", "--exp", "nowhere"])
"""
    left = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", script], env=left, capture_output=True, text=True, timeout=60)
    assert done.stdout == "PASSIVE False\n", done.stderr


def test_the_temporary_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = tmp_path / f"asr-parallel-{os.geteuid()}"
    assert temporary_folder() == temporary_folder() == usual
    assert stat.S_IMODE(usual.stat().st_mode) == 0o700
    usual.chmod(0o777)
    other = temporary_folder()
    assert other is not None and other != usual and stat.S_IMODE(other.stat().st_mode) == 0o700
    usual.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    usual.symlink_to(tmp_path / "elsewhere")
    assert temporary_folder() not in (None, usual, tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    assert temporary_folder() is None
