"""What meetings of workers have cost: who was left out, who waited for whom, what was sent."""

import time
from typing import Any

from asr_parallel.parallel.algorithm import TrainingHook
from asr_parallel.parallel.ecdnn.compression import OTHER
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.record.log import logger

SYNC_STATS = "sync_stats.json"


def sync_stats(rounds: SyncScheduler, compression: TrainingHook | None = None) -> dict[str, Any]:
    """A summary for sync_stats.json, also logged. Called by all processes alike.

    Returns:
        meetings: so far; left_out: how often each worker was; bytes_per_worker: of the messages of one worker, as if
        each were a process of its own; ranks: of each process its workers, the seconds since this run began, and of
        them those it waited until the last of the others had come (a slow process waits least: the others wait for
        it), those spent on means and what algorithms do with them (`gradient`: in its sums, with the
        waiting), and the bytes it gave to collective calls; with algorithm ensemble also seconds by phase. Counts of
        time and bytes begin anew when a training goes on.
    """
    group = rounds.group
    own = {
        "workers": list(group.local_workers),
        "seconds": time.monotonic() - rounds.began,
        "waited_seconds": rounds.waited_seconds,
        "moved_seconds": rounds.moved_seconds + rounds.algorithm.sum_seconds,
        "bytes": group.transport.bytes_sent,
    }
    if compression is not None:
        compression.phases.enter(OTHER)
        own["phases"] = compression.phases.total
    ranks = group.transport.all_gather_object(own)
    left_out = rounds.left_out.tolist()
    if group.is_main and group.transport.size > 1:
        for rank, of_rank in enumerate(ranks):
            waited, moved = (of_rank[name] / of_rank["seconds"] for name in ("waited_seconds", "moved_seconds"))
            logger.info(
                "rank %d: %.1f s, %.1f %% waiting for others, %.1f %% in meetings, %.4g MB", rank, of_rank["seconds"],
                100 * waited, 100 * moved, of_rank["bytes"] / 1e6,
            )  # fmt: skip
    if group.is_main and any(left_out):
        often = ", ".join(f"worker {k} {n} times" for k, n in enumerate(left_out) if n)
        logger.warning("left out of meetings: %s", often)
    return {
        "meetings": rounds.num_syncs,
        "left_out": left_out,
        "bytes_per_worker": rounds.synchronizer.bytes_per_worker,
        "ranks": ranks,
    }
