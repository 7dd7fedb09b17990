"""A Kaldi user's folder, made of a small world of this package."""

from pathlib import Path

import pytest
from kaldi_world import World, make_world, write_user


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("own"))


@pytest.fixture
def kaldi(world: World, tmp_path: Path) -> Path:
    return write_user(tmp_path, world)
