"""A tiny Switchboard, and its recipe with verbs that are forked from a process that has imported everything."""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from forked_verbs import forked_verbs
from swbd import PATH, RECIPE, Run, Verbs, run_really

from asr_parallel.testing.tiny_swbd import write_tiny_tree


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a tree; with $(odd) characters")
    write_tiny_tree(root, conversations=4, seconds=40)
    return root


@pytest.fixture(scope="session")
def forked() -> Iterator[Path]:
    with forked_verbs() as functions:
        yield functions


@pytest.fixture(scope="session")
def run(forked: Path) -> Run:
    """Run the recipe, its verbs without their imports, which take seconds."""
    return partial(run_really, BASH_ENV=str(forked))


@pytest.fixture
def dry_run(forked: Path, tmp_path: Path) -> Verbs:
    """Return the verbs that the recipe would call, with their options; without `pass_on`, those it knows itself."""

    def dry(*words: str, recipe: Path = RECIPE, pass_on: bool = True) -> list[list[str]]:
        pretend = tmp_path / "pretend.sh"
        sort_options = "asr-parallel() { printf 'sets\\t%s:dev\\n' dev eval; }"
        verb = f". '{forked}'" if pass_on else sort_options
        pretend.write_text(verb + "\nexec() { shift; (IFS='|'; echo \"$*\"); }\n")  # how recipes call verbs
        command = [str(recipe), "--exp", str(tmp_path / "exp"), *words]
        environment = os.environ | {"BASH_ENV": str(pretend), "PATH": PATH}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        return [line.split("|") for line in done.stdout.splitlines() if "|" in line]

    return dry
