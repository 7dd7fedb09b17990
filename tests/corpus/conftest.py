"""Small corpora to prepare, and a run of the program on them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_parallel.cli.main import main
from asr_parallel.testing.tiny_swbd import write_tiny_tree

HARD_NAME = "a b; touch pwned $(touch pwned) 'q\" & é"  # a folder's name that a shell would stumble over


@pytest.fixture(scope="session")
def tree_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    write_tiny_tree(root, seed=0, conversations=3, seconds=20)
    return root


@pytest.fixture
def tree(tree_once: Path, tmp_path: Path) -> Path:
    """A tiny Switchboard tree of one's own to damage, of conversations 2001, 2005 and 2007 or so."""
    return Path(shutil.copytree(tree_once, tmp_path / HARD_NAME / "tree"))


@pytest.fixture
def digit_corpus(tmp_path: Path) -> Path:
    """Two speakers, ten digits, four short recordings each, in the layout of the digits' corpus."""
    folder = tmp_path / HARD_NAME / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for speaker in ("ann", "bob"):
        for digit in range(10):
            for index in (0, 1, 2, 5):
                samples = rng.normal(0, 1000, 800 + 10 * index).astype(np.int16)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", samples, 8000)
    return folder.parent


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run `asr-parallel ARGUMENTS` here; exit status, and the one line of its error (empty when it went well)."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        status = main([str(argument) for argument in arguments])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asr-parallel ")]
        assert len(errors) == (0 if status == 0 else 1), errors
        return status, "".join(errors)

    return run
