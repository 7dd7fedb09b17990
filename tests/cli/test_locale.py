"""Files are UTF-8 whatever the locale, in the command line and for those who call it from Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

WORDS = ["café", "łódź", "naïve", "東京"]  # the second and the last are not in ISO-8859-1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.arange(8000, dtype=np.int16), 8000)
    (folder / "wav.scp").write_text(f"u1 {folder / 'a.wav'}\n", encoding="utf-8")
    (folder / "utt2spk").write_text("u1 s\n", encoding="utf-8")
    (folder / "text").write_text(f"u1 {' '.join(WORDS)}\n", encoding="utf-8")
    (folder / "lexicon.txt").write_text("".join(f"{word} a b{n}\n" for n, word in enumerate(WORDS)), encoding="utf-8")
    return folder


def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process in a locale that is not UTF-8 (ASCII without localedef)."""
    locale = tmp_path / "locales" / "en_US.ISO-8859-1"
    locale.parent.mkdir(exist_ok=True)
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(locale)]
    made = shutil.which("localedef") and subprocess.run(command, capture_output=True).returncode == 0
    return os.environ | {
        "LC_ALL": locale.name if made else "C",
        "LOCPATH": str(locale.parent),
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }


FROM_PYTHON = "import sys; from asr_parallel.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("program", "name"),
    [(["-c", FROM_PYTHON], "out"), (["-m", "asr_parallel"], "é 東")],
)
def test_every_word_is_in_the_lexicon(data: Path, tmp_path: Path, program: list[str], name: str) -> None:
    out = tmp_path / name
    for words in (
        ["import-kaldi", "--from", data, "--out", out / "train"],
        ["lang", "--data", out / "train", "--lexicon", data / "lexicon.txt", "--out", out / "lang"],
    ):
        command = [sys.executable, *program, *map(str, words)]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert (out / "train" / "text").read_bytes() == f"u1 {' '.join(WORDS)}\n".encode()
    assert (out / "lang" / "oov_words.txt").read_bytes() == b""
