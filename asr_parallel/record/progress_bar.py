"""Progress: a bar on a terminal, plain log lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

from asr_parallel.record.log import logger

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0  # a compromise between feedback and a short log


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Yield `items` while showing how many of `total` are done (total is taken from len() when it has one)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=description, total=total, unit=f" {unit}", delay=2.0, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            share = f" of {total} ({100 * done / total:.0f} %)" if total else ""
            logger.info("%s: %d%s %s in %.0f s", description, done, share, unit, now - start)
            last = now
        yield item
