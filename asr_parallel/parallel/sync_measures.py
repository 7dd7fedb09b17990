"""Measurements of a run's synchronizations: which workers were left out, and where the time went."""

import time
from typing import Any

import numpy as np

from asr_parallel.parallel.sync_info import DivergedError, SyncInfo
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.log import logger
from asr_parallel.record.timer import OTHER, NoTimer, Timer

SYNC_STATS = "sync_stats.json"  # file of `SyncScheduler.stats`


class SyncMeasures:
    """Counts and times since this was made, at the start of a run.

    left_out: (K,) int64, how often each worker was, in the whole training.
    waited_seconds: of this process, until the last of the others had come to a synchronization.
    moved_seconds: of this process, in synchronizations otherwise: in means and what algorithms do with them.
    """

    def __init__(self, group: WorkerGroup) -> None:
        """Begin to measure."""
        self._group, self._began = group, time.monotonic()
        self.left_out = np.zeros(group.num_workers, dtype=np.int64)
        self.waited_seconds = self.moved_seconds = 0.0

    def leave_out(self, info: SyncInfo) -> None:
        """Count and report the workers that a synchronization leaves out.

        Raises:
            DivergedError: no worker's model is valid.
        """
        loss, valid = info.loss, info.valid
        if not valid.any():
            raise DivergedError(
                f"training diverged: at synchronization {info.index + 1} no worker's model is valid (loss"
                f" {', '.join(f'{of_one:.4g}' for of_one in loss)}), learning rate {info.lr:.3g} per frame"
            )
        best = np.nanmin(loss[valid]) if np.isfinite(loss[valid]).any() else np.nan
        for worker in np.flatnonzero(~valid):
            logger.warning(
                "synchronization %d: worker %d left out: loss %.4g a frame, the best %.4g",
                info.index + 1, worker, loss[worker], best,
            )  # fmt: skip
        self.left_out += ~valid

    def stats(self, timer: Timer | NoTimer, sum_seconds: float, bytes_per_worker: float) -> dict[str, Any]:
        """Return statistics of the synchronizations, also logged. Collective.

        Times and bytes count from the start of this run, not of a training that it goes on with.

        Args:
            timer: of the phases of training.
            sum_seconds: of the algorithm, in sums of gradients.
            bytes_per_worker: of the messages of one worker, as if each were a process of its own.

        Returns:
            left_out: of each worker, from how many synchronizations; bytes_per_worker; ranks: of each process its
            workers, the seconds of this run, the seconds waited in synchronizations for the last of the others (a slow
            process waits least: the others wait for it), the seconds of means and what algorithms do with them
            (`gradient`: of its sums, with the waiting), and the bytes given to collective calls; with a timer also
            seconds by phase.
        """
        group = self._group
        own = {
            "workers": list(group.local_workers),
            "seconds": time.monotonic() - self._began,
            "waited_seconds": self.waited_seconds,
            "moved_seconds": self.moved_seconds + sum_seconds,
            "bytes": group.transport.bytes_sent,
        }
        if isinstance(timer, Timer):
            timer.enter(OTHER)
            own["phases"] = timer.total
        ranks = group.transport.all_gather_object(own)
        left_out = self.left_out.tolist()
        for rank, of_rank in enumerate(ranks if group.is_main and len(ranks) > 1 else ()):
            waited, moved = (100 * of_rank[name] / of_rank["seconds"] for name in ("waited_seconds", "moved_seconds"))
            logger.info(
                "rank %d: %.1f s, %.1f %% waiting for others, %.1f %% synchronizing, %.4g MB",
                rank, of_rank["seconds"], waited, moved, of_rank["bytes"] / 1e6,
            )  # fmt: skip
        if group.is_main and any(left_out):
            often = ", ".join(f"worker {k} {n} times" for k, n in enumerate(left_out) if n)
            logger.warning("left out of synchronizations: %s", often)
        return {"left_out": left_out, "bytes_per_worker": bytes_per_worker, "ranks": ranks}
