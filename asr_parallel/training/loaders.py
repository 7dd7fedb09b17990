"""Loaders of minibatches from the frame store to the device: three ways, the same minibatches.

mapped     CPU: gathered from the memory map and converted, in the thread that prepares ahead
pinned     GPU without room for the store: gathered into pinned memory as float16, copied on a stream of its own
resident   the whole store on the device, gathered there; only an epoch's order is sent, and the augmentation if any
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.training.augmentation import DrawnAugmentation
from asr_parallel.training.splice import splice

RESIDENT_SHARE = 0.5  # of the free memory that the store may take; the rest is for the network and its minibatches
UPLOAD_ROWS = 1 << 20


class Loader(Protocol):
    """Prepares minibatches of (R, B) rows of the store, in another thread, and finishes them in the consumer's."""

    def upload(self, order: np.ndarray) -> Any:
        """Return an epoch's (R, N) rows in the form that `prepare` takes, an array or tensor."""

    def prepare(self, rows: Any, drawn: DrawnAugmentation) -> Any:
        """Do all that can be done ahead. `drawn` is for R * B examples."""

    def finish(self, prepared: Any) -> tuple[Tensor, Tensor]:
        """Return spliced frames (R, B, spliced_dim) and labels (R, B) int64 on the device, for the current stream."""


def make_loader(store: FrameStore, dtype: torch.dtype, device: torch.device, resident: bool | None = None) -> Loader:
    """Return the loader for a device. resident: whether the store is kept on it; None: on a GPU with room for it."""
    on_gpu = device.type == "cuda"
    if resident or (resident is None and on_gpu and _fits(store, device)):
        return ResidentLoader(store, dtype, device)
    return PinnedLoader(store, dtype, device) if on_gpu else MappedLoader(store, dtype)


def _fits(store: FrameStore, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return store.frames.nbytes + store.labels.nbytes <= RESIDENT_SHARE * free


def _labels(store: FrameStore, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(store.labels[rows].astype(np.int64))


def _augmented(halves: Tensor, drawn: DrawnAugmentation, dtype: torch.dtype) -> Tensor:
    """Return (R, B, spliced_dim) float16 frames augmented as float32 and converted."""
    if drawn == DrawnAugmentation(None, None):
        return halves.to(dtype)
    spliced = halves.float()
    drawn.to(spliced.device).apply(spliced.flatten(0, 1))
    return spliced.to(dtype)


class MappedLoader:
    """Loader from the memory map to tensors of the CPU."""

    def __init__(self, store: FrameStore, dtype: torch.dtype) -> None:
        self._store, self._dtype = store, dtype
        self._frames = np.asarray(store.frames).view(np.uint16)
        self._nothing = np.empty((0, store.dim), dtype=np.float32)

    def upload(self, order: np.ndarray) -> np.ndarray:
        return order

    def prepare(self, rows: np.ndarray, drawn: DrawnAugmentation) -> tuple[Tensor, Tensor]:
        spliced = torch.empty((*rows.shape, self._store.spliced_dim), dtype=self._dtype)
        offset, keep = (self._nothing if one is None else one.numpy() for one in (drawn.offset, drawn.keep))
        splice(self._frames, rows.reshape(-1), self._store.context, offset, keep, bits(spliced.flatten(0, 1)))
        return spliced, _labels(self._store, rows)

    def finish(self, prepared: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return prepared


class PinnedLoader:
    """Loader through pinned memory to a GPU. torch reuses pinned memory once its copy is done."""

    def __init__(self, store: FrameStore, dtype: torch.dtype, device: torch.device) -> None:
        self._store, self._dtype, self._device = store, dtype, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call, unused-ignore]

    def upload(self, order: np.ndarray) -> np.ndarray:
        return order

    def prepare(self, rows: np.ndarray, drawn: DrawnAugmentation) -> tuple[Tensor, Tensor, torch.cuda.Event]:
        halves = torch.empty((*rows.shape, self._store.spliced_dim), dtype=torch.float16, pin_memory=True)
        halves.copy_(torch.from_numpy(self._store.gather(rows)))
        labels = _labels(self._store, rows).pin_memory()
        drawn = drawn.pinned()
        with torch.cuda.stream(self._stream):
            spliced = _augmented(halves.to(self._device, non_blocking=True), drawn, self._dtype)
            return spliced, labels.to(self._device, non_blocking=True), self._stream.record_event()

    def finish(self, prepared: tuple[Tensor, Tensor, torch.cuda.Event]) -> tuple[Tensor, Tensor]:
        spliced, labels, arrived = prepared
        current = torch.cuda.current_stream(self._device)
        current.wait_event(arrived)
        for tensor in (spliced, labels):
            tensor.record_stream(current)  # the side stream must not reuse its memory before the current one is done
        return spliced, labels


class ResidentLoader:
    """The whole store on the device as float16; one copy of (P, D) frames and (P,) labels."""

    def __init__(self, store: FrameStore, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._window = torch.arange(-store.context, store.context + 1, device=device)
        self._frames, self._labels = _on_device(store.frames, device), _on_device(store.labels, device)

    def upload(self, order: np.ndarray) -> Tensor:
        return torch.from_numpy(order).to(self._device)

    def prepare(self, rows: Tensor, drawn: DrawnAugmentation) -> tuple[Tensor, DrawnAugmentation]:
        return rows, drawn.pinned() if self._device.type == "cuda" else drawn

    def finish(self, prepared: tuple[Tensor, DrawnAugmentation]) -> tuple[Tensor, Tensor]:
        rows, drawn = prepared[0].long(), prepared[1]
        spliced = _augmented(self._frames[rows.unsqueeze(-1) + self._window].flatten(-2), drawn, self._dtype)
        return spliced, self._labels[rows].long()


def _on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy a memory-mapped array to the device, a part at a time."""
    sample = torch.from_numpy(np.empty(0, dtype=array.dtype))
    out = torch.empty(array.shape, dtype=sample.dtype, device=device)
    for start in range(0, len(array), UPLOAD_ROWS):
        out[start : start + UPLOAD_ROWS] = torch.from_numpy(np.array(array[start : start + UPLOAD_ROWS]))
    return out
