"""Checkpoints of a training: each a folder that is there whole or not at all, whatever happens to the process.

    000001234432/           named by the frames trained on
        tensors.safetensors
        state.json          counters, schedule, versions, and the digest of these and the tensors

A folder is written aside, brought to the disk and renamed; only then are older ones removed. A process killed at any
moment leaves the last checkpoint that `save` returned from, or a newer one.
"""

import hashlib
import json
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
REPLACED = ".replaced"
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
        """Write a checkpoint; one of the same frames is replaced, those of more frames (damaged ones) are removed.

        Raises:
            OSError: it cannot be written (a full disk, say); older checkpoints stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._recover()
        final = self.folder / f"{frames:0{DIGITS}d}"
        aside = self.folder / f".{final.name}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
            (aside / TENSORS).write_bytes(data)
            sync(aside / TENSORS)
            versions = {"asr_parallel": __version__, "torch": torch.__version__}
            described = {"frames": frames, "versions": versions, "state": dict(state)}
            write_json(aside / STATE, {**described, "sha256": _digest(data, described)})
            sync(aside)
            if final.exists():
                final.rename(self.folder / f".{final.name}{REPLACED}")
            aside.rename(final)
            sync(self.folder)
        except OSError as error:
            raise OSError(error.errno, f"cannot write a checkpoint: {error.strerror or error}", str(final)) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            self._recover()
        folders = self._folders()
        newest = folders.index(final) + 1
        for old in (*folders[: max(0, newest - self.keep)], *folders[newest:]):
            self._remove(old)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, None when there is none; leftovers of killed processes are removed.

        Raises:
            ValueError: there are checkpoints, but none can be read.
        """
        if not self.folder.is_dir():
            return None
        self._recover()
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

    def _recover(self) -> None:
        """Put back a checkpoint that was to be replaced, where the one to replace it did not come."""
        for replaced in self.folder.glob(f".*{REPLACED}"):
            final = self.folder / replaced.name.removeprefix(".").removesuffix(REPLACED)
            if final.exists():
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                replaced.rename(final)

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint so that a process killed meanwhile leaves none that is half there."""
        gone = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read(folder: Path) -> Checkpoint:
    described = read_json(folder / STATE)
    data = (folder / TENSORS).read_bytes()
    try:
        digest = described.pop("sha256")
        if _digest(data, described) != digest:
            raise ValueError(f"{folder}: not what was written (other digest)")
        return Checkpoint(described["frames"], load(data), described["state"])
    except (AttributeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a checkpoint: {error}") from error


def _digest(data: bytes, described: dict[str, Any]) -> str:
    """Of the tensor file and of all else that state.json holds."""
    digest = hashlib.sha256(data)
    digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()
