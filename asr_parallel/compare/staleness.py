"""How stale the messages of asynchronous workers were, and how long they queued, from a training's statistics."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Cell


def with_staleness(cell: Cell, stats: Path) -> Cell:
    """Return a cell with its staleness and queue length; the same where workers were synchronous.

    Args:
        stats: sync_stats.json of its training, there or not; see AsyncScheduler.stats and ServedScheduler.stats.
    """
    found = read_json(stats) if stats.is_file() else {}
    if "staleness" not in found:
        return cell
    staleness = found["staleness"]
    queues = [found[name] for name in ("fetch_queue", "push_queue") if name in found]
    if "queue" in found:  # a server counts the request itself, too
        queues.append({int(length) - 1: count for length, count in found["queue"].items()})
    return replace(
        cell,
        staleness=mean_of(staleness),
        most_staleness=max(map(int, staleness), default=0),
        queue_length=mean_of(*queues) if queues else None,
    )


def mean_of(*counts: Mapping[Any, int]) -> float:
    """Return the mean of whole numbers, from how often each was found; 0 where none was."""
    times = sum(sum(of.values()) for of in counts)
    return sum(int(number) * count for of in counts for number, count in of.items()) / max(1, times)
