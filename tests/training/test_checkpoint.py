"""Checkpoints come back exactly, only whole ones count, and a killed or full disk costs none that was good."""

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from fast_start import Started
from forked import run_forked
from torch import Tensor

from asr_parallel.training import checkpoint
from asr_parallel.training.checkpoint import STATE, TENSORS, Checkpoints


def tensors(k: int) -> dict[str, Tensor]:
    return {"parameters": torch.full((2, 300), float(k)), "t": torch.tensor(k)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 5),
        torch.randn(4, 6, dtype=torch.float64).T[1:],
        torch.tensor([1.5, float("nan"), float("inf")]).bfloat16(),
        torch.tensor(7, dtype=torch.int64),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
        torch.arange(10)[::3],
    ],
)
def test_tensors_and_state_come_back_exactly(tmp_path: Path, tensor: Tensor) -> None:
    state = {"epoch": 3, "schedule": {"rate": 0.1 + 0.2}, "none": None}
    Checkpoints(tmp_path).save(1234, {"a": tensor, "again": tensor}, state)
    back = Checkpoints(tmp_path).newest()
    assert back is not None and back.frames == 1234 and back.state == state
    for name in ("a", "again"):
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name].nan_to_num(), tensor.nan_to_num())


def test_views_of_one_memory_come_back_each_on_its_own(tmp_path: Path) -> None:
    flat = torch.arange(12.0)
    views = {"flat": flat, "weight": flat[:8].view(2, 4), "transposed": flat[:8].view(2, 4).T, "one": flat[3]}
    Checkpoints(tmp_path).save(1, views, {})
    back = Checkpoints(tmp_path).newest()
    assert back is not None and all(torch.equal(back.tensors[name], view) for name, view in views.items())
    back.tensors["flat"].zero_()
    assert torch.equal(back.tensors["one"], torch.tensor(3.0))


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest() is None
    for k in (5, 40, 300, 2000):
        checkpoints.save(k, tensors(k), {})
    assert names(tmp_path) == ["000000000300", "000000002000"]
    checkpoints.save(2000, tensors(1), {})  # the end of an epoch just after a checkpoint
    newest = checkpoints.newest()
    assert newest is not None and newest.tensors["t"] == 1
    with pytest.raises(ValueError, match="0 checkpoints to keep"):
        Checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "changed",
        "no tensors",
        "no state",
        "state not JSON",
        "state empty",
        "state a list",
        "state changed",
    ],
)
def test_a_damaged_checkpoint_is_left_out(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(100, tensors(1), {"epoch": 0})
    checkpoints.save(200, tensors(2), {"epoch": 1})
    newest = tmp_path / "000000000200"
    data = bytearray((newest / TENSORS).read_bytes())
    if damage == "truncated":
        (newest / TENSORS).write_bytes(data[:-10])
    elif damage == "changed":
        data[-1] ^= 1
        (newest / TENSORS).write_bytes(data)
    elif damage == "no tensors":
        (newest / TENSORS).unlink()
    elif damage == "no state":
        (newest / STATE).unlink()
    else:
        text = (newest / STATE).read_text()
        (newest / STATE).write_text(
            {
                "state not JSON": text[:-9],
                "state empty": "{}",
                "state a list": "[]",
                "state changed": text.replace('"epoch": 1', '"epoch": 3'),
            }[damage]
        )
    back = checkpoints.newest()
    assert back is not None and (back.frames, back.state) == (100, {"epoch": 0})
    assert "checkpoint left out" in caplog.text and "000000000200" in caplog.text
    (tmp_path / "000000000100" / TENSORS).unlink()
    with pytest.raises(ValueError, match="none of its 2 checkpoints can be read"):
        checkpoints.newest()


def test_a_full_disk_names_the_checkpoint_and_keeps_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(100, tensors(1), {})

    def full(path: Path, data: bytes) -> int:
        path.open("wb").write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="cannot write a checkpoint: No space left on device") as error:
        checkpoints.save(200, tensors(2), {})
    assert "000000000200" in str(error.value)
    assert names(tmp_path) == ["000000000100"]
    newest = checkpoints.newest()
    assert newest is not None and newest.frames == 100


def test_damaged_ones_do_not_crowd_out_whole_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(100, tensors(1), {})
    (tmp_path / "000000000900").mkdir()
    checkpoints.save(200, tensors(2), {})  # by a run that went on from 100
    newest = checkpoints.newest()
    assert newest is not None and newest.frames == 200
    assert names(tmp_path) == ["000000000200"]


def test_an_interrupt_while_saving_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(100, tensors(1), {})
    monkeypatch.setattr(checkpoint, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(200, tensors(2), {})
    assert names(tmp_path) == ["000000000100"]


def save_three_times(folder: Path) -> None:
    checkpoints = Checkpoints(folder, keep=1)
    for frames, k in ((100, 1), (100, 2), (200, 3)):  # written, replaced, and followed by another
        checkpoints.save(frames, tensors(k), {"k": k})
        print(k, flush=True)


def test_a_kill_at_any_step_of_saving_costs_none_that_was_saved(tmp_path: Path) -> None:
    steps = run_forked(tmp_path / "notes", save_three_times, tmp_path / "whole").steps
    assert steps > 20
    for kill_at in range(1, steps + 1):
        folder = tmp_path / f"{kill_at}"
        ended = run_forked(tmp_path / "notes", save_three_times, folder, kill_at=kill_at)
        assert ended.status == -signal.SIGKILL
        newest = Checkpoints(folder).newest()
        found = 0 if newest is None else newest.state["k"]
        assert found >= len(ended.said.split()), kill_at
        assert newest is None or newest.tensors["t"] == found
        assert not folder.exists() or all(name.isdigit() for name in names(folder))


def save_on(words: list[str]) -> None:
    checkpoints = Checkpoints(Path(words[0]))
    for k in range(int(words[1]), 10**6):
        checkpoints.save(k, {"parameters": torch.full((500, 400), float(k))}, {"k": k})
        print(k, flush=True)


@pytest.mark.timeout(120)
def test_a_process_killed_while_saving_leaves_what_it_had_saved(tmp_path: Path) -> None:
    delays, first = random.Random(0), 0
    for _ in range(3):
        process = Started([str(tmp_path), str(first)], program=save_on)
        while not any(name.isdigit() and int(name) >= first for name in names(tmp_path)) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delays.uniform(0, 0.2))
        process.kill()
        said = process.communicate(30)[0].split()
        assert process.returncode == -signal.SIGKILL
        newest = Checkpoints(tmp_path).newest()
        assert newest is not None
        assert newest.frames >= max([first, *map(int, said)]) and newest.state == {"k": newest.frames}
        assert bool((newest.tensors["parameters"] == newest.frames).all())
        assert all(name.isdigit() for name in names(tmp_path))  # leftovers are gone
        first = newest.frames + 1
