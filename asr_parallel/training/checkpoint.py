"""Checkpoints of a training: each a folder that is there whole or not at all, whatever happens to the process.

    000001234432/           named by the frames trained on
        tensors.safetensors
        state.json          counters, schedule, versions, and the digest of the tensors

A folder is written aside, brought to the disk and renamed; only then are older ones removed. A process killed at any
moment leaves the last checkpoint that `save` returned from, or a newer one.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from asr_parallel import __version__
from asr_parallel.record.files import read_json, sync, write_json
from asr_parallel.record.log import logger

TENSORS, STATE = "tensors.safetensors", "state.json"
DIGITS = 12  # of the folders' names, so that they sort by frames


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after `frames` frames. tensors: on the CPU, by name; state: JSON values."""

    frames: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in one folder; the `keep` newest are kept."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"{keep} checkpoints to keep: expected at least 1")
        self.folder, self.keep = folder, keep

    def save(self, frames: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint; one of the same frames is replaced.

        Raises:
            OSError: it cannot be written (a full disk, say); older checkpoints stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"{frames:0{DIGITS}d}"
        aside = self.folder / f".{final.name}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
            (aside / TENSORS).write_bytes(data)
            sync(aside / TENSORS)
            versions = {"asr_parallel": __version__, "torch": torch.__version__}
            digest = hashlib.sha256(data).hexdigest()
            write_json(aside / STATE, {"frames": frames, "sha256": digest, "versions": versions, "state": dict(state)})
            sync(aside)
            self._remove(final)
            aside.rename(final)
            sync(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise OSError(error.errno, f"cannot write a checkpoint: {error.strerror or error}", str(final)) from error
        for old in self._folders()[: -self.keep]:
            self._remove(old)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, None when there is none; leftovers of killed processes are removed.

        Raises:
            ValueError: there are checkpoints, but none can be read.
        """
        if not self.folder.is_dir():
            return None
        for left_over in self.folder.glob(".*"):
            shutil.rmtree(left_over, ignore_errors=True)
        folders = self._folders()
        for folder in reversed(folders):
            try:
                return _read(folder)
            except (ValueError, OSError) as error:
                logger.warning("checkpoint left out: %s", error)
        if folders:
            raise ValueError(f"{self.folder}: none of its {len(folders)} checkpoints can be read")
        return None

    def _folders(self) -> list[Path]:
        """Of the checkpoints, from the oldest to the newest."""
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit())

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint so that a process killed meanwhile leaves none that is half there."""
        if folder.exists():
            gone = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _read(folder: Path) -> Checkpoint:
    described = read_json(folder / STATE)
    data = (folder / TENSORS).read_bytes()
    try:
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise ValueError(f"{folder / TENSORS}: not what was written (other digest)")
        return Checkpoint(described["frames"], load(data), described["state"])
    except (KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a checkpoint: {error}") from error
