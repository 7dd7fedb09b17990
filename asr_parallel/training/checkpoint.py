"""Checkpoints of a training: each a folder that is there whole or not at all, whatever happens to the process.

    000001234432/               named by the frames trained on
        tensors.safetensors     what all workers share
        worker-00003.safetensors
        state.json              counters, schedule, versions, the other files' digests, and the digest of all that

A folder is written under a temporary name, fsynced and renamed; only then are older ones removed. A process killed at
any moment leaves the last checkpoint that `save` returned from, or a newer one. Each process writes the files of its
workers to the same folder, so a run may resume with another number of processes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from asr_parallel import __version__
from asr_parallel.parallel.transport import LostError, SingleProcess, Transport
from asr_parallel.record.files import fsync, read_json, resolve_links, write_json
from asr_parallel.record.log import logger

CHECKPOINTS = "checkpoints"  # in the folder of an unfinished training
TENSORS, STATE = "tensors.safetensors", "state.json"
REPLACED = ".replaced"
DIGITS = 12  # of the folders' names, so that they sort by frames


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after `frames` frames.

    tensors: shared, on the CPU, by name; workers: of those workers that were asked for; state: JSON values.
    """

    frames: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    workers: dict[int, dict[str, Tensor]]


class Checkpoints:
    """The checkpoints of one training in one folder; the `keep` newest are kept."""

    def __init__(self, folder: Path, keep: int = 2, transport: Transport | None = None) -> None:
        """Touch nothing yet.

        Args:
            transport: of the run's processes, which call everything here together. Rank 0 alone makes and removes
                folders.
        """
        if keep < 1:
            raise ValueError(f"{keep} checkpoints to keep: expected at least 1")
        self.folder, self.keep, self.transport = resolve_links(folder), keep, transport or SingleProcess()

    def save(
        self,
        frames: int,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        workers: Mapping[int, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Write a checkpoint; one of the same frames is replaced, those of more frames (damaged ones) are removed.

        Args:
            tensors, state: what all workers share; rank 0's are written.
            workers: what this process's workers have of their own.

        Raises:
            OSError: it cannot be written (a full disk, say); older checkpoints stay.
        """
        final = self.folder / f"{frames:0{DIGITS}d}"
        temp = self.folder / f".{final.name}.partial"
        is_main = self.transport.rank == 0
        try:
            if is_main:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._recover()
                shutil.rmtree(temp, ignore_errors=True)
                temp.mkdir()
            self.transport.barrier()
            files = {_worker_file(worker): own for worker, own in (workers or {}).items()}
            if is_main:
                files[TENSORS] = tensors
            digests = self.transport.all_gather_object({name: _write(temp / name, own) for name, own in files.items()})
            if is_main:
                versions = {"asr_parallel": __version__, "torch": torch.__version__}
                files_digests = {name: digest for of_rank in digests for name, digest in of_rank.items()}
                described = {"frames": frames, "versions": versions, "state": dict(state), "files": files_digests}
                write_json(temp / STATE, {**described, "sha256": _digest(described)})
                fsync(temp)
                if final.exists():
                    final.rename(self.folder / f".{final.name}{REPLACED}")
                temp.rename(final)
                fsync(self.folder)
        except LostError:
            raise
        except OSError as error:
            raise OSError(error.errno, f"cannot write a checkpoint: {error.strerror or error}", str(final)) from error
        finally:
            if is_main:
                shutil.rmtree(temp, ignore_errors=True)
                self._recover()
        if not is_main:
            return
        folders = self._folders()
        newest = folders.index(final) + 1
        for old in (*folders[: max(0, newest - self.keep)], *folders[newest:]):
            self._remove(old)

    def newest(self, workers: Iterable[int] = ()) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, None when there is none; remove leftovers of killed processes.

        Args:
            workers: whose own tensors are wanted.

        Raises:
            ValueError: there are checkpoints, but none can be read.
        """
        if self.transport.rank == 0 and self.folder.is_dir():
            self._recover()
            for left_over in self.folder.glob(".*"):
                shutil.rmtree(left_over, ignore_errors=True)
        names = self.transport.broadcast_object([path.name for path in self._folders()])
        for name in reversed(names):
            found, wrong = None, None
            try:
                found = _read(self.folder / name, workers)
            except (ValueError, OSError) as error:
                wrong = str(error)
            wrongs = [text for text in self.transport.all_gather_object(wrong) if text is not None]
            if not wrongs:
                return found
            logger.warning("checkpoint left out: %s", wrongs[0])
        if names:
            raise ValueError(f"{self.folder}: none of its {len(names)} checkpoints can be read")
        return None

    @property
    def last_frames(self) -> int | None:
        """Frames of the newest checkpoint, as its name says; None when there is none. Not collective."""
        return max((int(path.name) for path in self._folders()), default=None)

    def _folders(self) -> list[Path]:
        """Return the checkpoints' folders, from the oldest to the newest."""
        return sorted(path for path in self.folder.glob("*") if path.name.isdigit())

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


def remove_work(work: Path) -> None:
    """Remove the folder of a training, if it is there; a process killed meanwhile leaves none that is half there."""
    gone = work.with_name(f".{work.name}.old")
    shutil.rmtree(gone, ignore_errors=True)
    if work.exists():
        work.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _worker_file(worker: int) -> str:
    return f"worker-{worker:05d}.safetensors"


def _write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors to the disk; return the file's digest."""
    data = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    path.write_bytes(data)
    fsync(path)
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path, workers: Iterable[int]) -> Checkpoint:
    described = read_json(folder / STATE)
    try:
        digest = described.pop("sha256")
        if _digest(described) != digest:
            raise ValueError(f"{folder}: {STATE} is not what was written (other digest)")
        files = described["files"]
        of_workers = {worker: _tensors(folder, _worker_file(worker), files) for worker in workers}
        shared = _tensors(folder, TENSORS, files)
        return Checkpoint(described["frames"], shared, described["state"], of_workers)
    except (AttributeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a checkpoint: {error}") from error


def _tensors(folder: Path, name: str, digests: Mapping[str, str]) -> dict[str, Tensor]:
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digests[name]:
        raise ValueError(f"{folder}: {name} is not what was written (other digest)")
    return dict(load(data))


def _digest(described: dict[str, Any]) -> str:
    """Return the digest of all else that state.json holds."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
