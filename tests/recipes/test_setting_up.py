"""Several runs of run.sh in a fresh checkout, as `srun -n 4 ./run.sh` starts: one installs, the others wait for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands in for Python: makes an environment whose pip notes when it begins and ends, and takes a moment
PYTHON = """#!/usr/bin/env bash
case "$*" in
  -c*) exec "$REAL" "$@" ;;
  "-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/pip" ;;
  "-m pip"*)
    echo begin >> "$NOTES"
    [[ $* != *torchaudio* ]] || grep -h ^torch "$(dirname "$0")/../constraints.txt" >> "$NOTES"
    sleep 0.5
    printf '#!/bin/sh\\n' > "$(dirname "$0")/asr-parallel"
    chmod +x "$(dirname "$0")/asr-parallel"
    echo end >> "$NOTES"
    ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "a checkout"
    (checkout / "recipes" / "swbd").mkdir(parents=True)
    for name in ("run.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    for path, text in ((tmp_path / "python", PYTHON), (checkout / "recipes" / "swbd" / "run.sh", "#!/bin/sh\n")):
        path.write_text(text)
        path.chmod(0o755)
    return checkout


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"PYTHON": str(tmp_path / "python"), "REAL": sys.executable, "NOTES": str(tmp_path / "notes")}


@pytest.mark.timeout(60)
def test_one_of_several_runs_installs(tmp_path: Path, checkout: Path, environment: dict[str, str]) -> None:
    running = [subprocess.Popen([checkout / "run.sh"], env=environment) for _ in range(4)]
    assert [process.wait(50) for process in running] == [0] * 4
    assert (tmp_path / "notes").read_text() == "begin\nend\n"
    assert not list(checkout.glob("*lock*"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("words", [(), ("another place",)])
def test_torchaudio_gets_the_torch_that_it_was_built_with(
    tmp_path: Path, checkout: Path, environment: dict[str, str], words: tuple[str, ...]
) -> None:
    for _ in range(2):  # the second finds all in place
        subprocess.run([checkout / "run.sh", "test-torchaudio", *words], env=environment, cwd=tmp_path, check=True)
    begin, torch, torchaudio, end = (tmp_path / "notes").read_text().splitlines()
    assert (begin, end) == ("begin", "end")
    assert torch.removeprefix("torch==") == torchaudio.removeprefix("torchaudio==")
    place = tmp_path / words[0] if words else checkout / ".venv-torchaudio"
    assert (place / "bin" / "asr-parallel").is_file()
