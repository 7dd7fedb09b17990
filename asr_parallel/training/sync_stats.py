"""Statistics of synchronizations: workers left out, time waited, bytes sent."""

import time
from typing import Any

from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.record.log import logger
from asr_parallel.record.timer import OTHER, NoTimer, Timer

SYNC_STATS = "sync_stats.json"


def sync_stats(scheduler: SyncScheduler, timer: Timer | NoTimer) -> dict[str, Any]:
    """Return the contents of sync_stats.json, also logged. Collective.

    Times and bytes count from the start of this run, not of a training that it goes on with.

    Returns:
        syncs: number of synchronizations; left_out: of each worker, from how many; bytes_per_worker: of the messages
        of one worker, as if each were a process of its own; ranks: of each process its workers, the seconds of this
        run, the seconds waited in synchronizations for the last of the others (a slow process waits least: the others
        wait for it), the seconds of means and what algorithms do with them (`gradient`: of its sums, with the waiting),
        and the bytes given to collective calls; with a timer also seconds by phase.
    """
    group = scheduler.group
    own = {
        "workers": list(group.local_workers),
        "seconds": time.monotonic() - scheduler.began,
        "waited_seconds": scheduler.waited_seconds,
        "moved_seconds": scheduler.moved_seconds + scheduler.algorithm.sum_seconds,
        "bytes": group.transport.bytes_sent,
    }
    if isinstance(timer, Timer):
        timer.enter(OTHER)
        own["phases"] = timer.total
    ranks = group.transport.all_gather_object(own)
    left_out = scheduler.left_out.tolist()
    if group.is_main and group.transport.size > 1:
        for rank, of_rank in enumerate(ranks):
            waited, moved = (of_rank[name] / of_rank["seconds"] for name in ("waited_seconds", "moved_seconds"))
            logger.info(
                "rank %d: %.1f s, %.1f %% waiting for others, %.1f %% synchronizing, %.4g MB", rank, of_rank["seconds"],
                100 * waited, 100 * moved, of_rank["bytes"] / 1e6,
            )  # fmt: skip
    if group.is_main and any(left_out):
        often = ", ".join(f"worker {k} {n} times" for k, n in enumerate(left_out) if n)
        logger.warning("left out of synchronizations: %s", often)
    return {
        "syncs": scheduler.num_syncs,
        "left_out": left_out,
        "bytes_per_worker": scheduler.synchronizer.bytes_per_worker,
        "ranks": ranks,
    }
