"""Weighted means of vectors over all workers, in float32, fixed point or small integers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.parallel.comm_dtypes import COMM_DTYPES, SUMS
from asr_parallel.parallel.worker_group import WorkerGroup

FIXED_POINT, LARGEST = 2.0**-40, 2.0**20  # what exact means can hold
BLOCK = 1024  # parameters with a scale in common
AT_ONCE = 64 * BLOCK  # parameters that a CPU turns into integers and back: what is between fits its cache


@dataclass(frozen=True, slots=True)
class Pending:
    """A sum that is being formed.

    total: of all processes once `wait` has returned.
    scale: of each block, where integers are sent.
    """

    total: Tensor
    wait: Callable[[], None]
    scale: Tensor | None = None


class WeightedMean:
    """Weighted means of workers' models; the result has the same bits in every process.

    comm_dtype  bytes a parameter  what is sent
    float32   4       the sum of a process's weighted models
    exact     8       the same in fixed point, twice the bytes: the same mean, bit for bit, in any number of processes.
                      For models with sampling in them, where a rounding error may turn a unit over
    float16   2       integers: each worker's weighted difference to a point that all know, in units of the greatest
    int8      1       among all workers' in a block of 1024 over the greatest that K of them may have with an exact sum;
                      what rounding has left over a worker adds to its next message (error feedback: Seide et al.,
                      "1-bit stochastic gradient descent", 2014)

    Since sums of integers round nothing, those too are the same in any number of processes.

    bytes_per_worker: of the messages of one worker so far, as if each were a process of its own.
    """

    def __init__(self, group: WorkerGroup, comm_dtype: str, replicas: Tensor) -> None:
        """Set up for models of this shape.

        Args:
            replicas: (R, P) as the models will be.

        Raises:
            ValueError: an unknown comm_dtype, or more workers than it can count.
        """
        if comm_dtype not in (*COMM_DTYPES, "exact"):
            raise ValueError(f"unknown comm_dtype {comm_dtype!r}; expected one of {', '.join(COMM_DTYPES)}")
        self.group, self.comm_dtype, self.bytes_per_worker = group, comm_dtype, 0
        self.residual: Tensor | None = None
        self._workspace: Tensor | None = None
        if comm_dtype in SUMS:
            self._most = SUMS[comm_dtype] // group.num_workers
            if self._most < 1:
                raise ValueError(
                    f"comm_dtype {comm_dtype}: {group.num_workers} workers, more than the {SUMS[comm_dtype]} it can"
                    " count"
                )
            self.residual = torch.zeros_like(replicas)

    def of(self, values: Tensor, weights: np.ndarray, anchor: Tensor | None = None) -> Tensor:
        """Return the (P,) weighted mean over all workers, to be read until the next one begins.

        Args:
            values: (R, P) of this process's workers.
            weights: (K,) of all workers, not negative, not all 0; values of weight 0 are not looked at.
            anchor: (P,) all know, near the values; for comm_dtypes of integers, e.g. the last mean
        """
        return self.finish(self.start(values, weights, anchor), anchor)

    def start(self, values: Tensor, weights: np.ndarray, anchor: Tensor | None = None) -> Pending:
        """Begin to form a mean. The values may be changed when this returns."""
        assert (
            len(weights) == self.group.num_workers
            and weights.sum() > 0
            and len(values) == len(self.group.local_workers)
        )
        own = (weights / weights.sum())[list(self.group.local_workers)].tolist()
        scale: Tensor | None = None
        if self.comm_dtype == "exact":
            total = self._fixed(values, own)
        elif self.comm_dtype in SUMS:
            assert anchor is not None
            total, scale = self._integers(values, own, anchor)
        else:
            if self._workspace is None:
                self._workspace = torch.empty_like(values[0])  # once: new memory pages cost time
            total = torch.mul(values[0], own[0], out=self._workspace) if own[0] else self._workspace.zero_()
            for value, weight in zip(values[1:], own[1:], strict=True):
                if weight:
                    total.add_(value, alpha=weight)
        wait = self.group.transport.start_all_reduce(total)
        self._count(total)
        return Pending(total, wait, scale)

    def finish(self, pending: Pending, anchor: Tensor | None = None) -> Tensor:
        """Return the mean that `start` with this `anchor` began."""
        pending.wait()
        total = pending.total
        if self.comm_dtype == "exact":
            mean = (total[:-1].double() * FIXED_POINT).float()
            return mean.masked_fill(total[-1] > 0, torch.nan)
        if pending.scale is None:
            return total
        assert anchor is not None
        mean = torch.empty_like(anchor)
        for span, blocks in _spans(anchor):
            torch.add(anchor[span], _blocks(total[span].float(), pending.scale[blocks]), out=mean[span])
        return mean

    def _count(self, sent: Tensor) -> None:
        """Count a message; one worker alone has nobody to send it to."""
        if self.group.num_workers > 1:
            self.bytes_per_worker += sent.numel() * sent.element_size()

    def _fixed(self, values: Tensor, own: list[float]) -> Tensor:
        """Return a sum in units of FIXED_POINT, and last the number of values that are not finite or too large."""
        total = torch.zeros(values.shape[1] + 1, dtype=torch.int64, device=values.device)
        for value, weight in zip(values, own, strict=True):
            if weight:
                total[:-1] += (value.double() * (weight / FIXED_POINT)).nan_to_num(0, 0, 0).round_().long()
                total[-1] += (~(value.abs() < LARGEST)).sum()
        return total

    def _integers(self, values: Tensor, own: list[float], anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Return the integers, and the scale of each block."""
        assert self.residual is not None
        scale = values.new_empty(-(-values.shape[1] // BLOCK))
        for span, blocks in _spans(anchor):
            for left, value, weight in zip(self.residual[:, span], values[:, span], own, strict=True):
                if weight:
                    left.add_(value - anchor[span], alpha=weight)  # the message; from here on what is still to be sent
            padded = torch.nn.functional.pad(self.residual[:, span], (0, -self.residual[:, span].shape[1] % BLOCK))
            scale[blocks] = padded.abs().view(len(own), -1, BLOCK).amax(dim=(0, 2)) / self._most
        self.group.transport.all_reduce_max(scale)
        self._count(scale)
        total = values.new_empty(values.shape[1], dtype=getattr(torch, self.comm_dtype))
        unit = scale.clamp_min(torch.finfo(torch.float32).tiny)
        for span, blocks in _spans(anchor):
            sum_of_own = torch.zeros_like(anchor[span])
            for left, weight in zip(self.residual[:, span], own, strict=True):
                if weight:
                    sent = _blocks(left, 1 / unit[blocks]).round_().clamp_(-self._most, self._most)
                    left.sub_(_blocks(sent, scale[blocks]))
                    sum_of_own.add_(sent)
            total[span] = sum_of_own
        return total, scale


def _blocks(values: Tensor, factors: Tensor) -> Tensor:
    """Return (P,) values times the factor of their block."""
    return values * factors.repeat_interleave(BLOCK)[: len(values)]


def _spans(values: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of (P,) values and of their blocks; for a GPU a single one."""
    size = AT_ONCE if values.device.type == "cpu" else -(-len(values) // BLOCK) * BLOCK
    for start in range(0, len(values), size):
        yield slice(start, start + size), slice(start // BLOCK, (start + size) // BLOCK)
