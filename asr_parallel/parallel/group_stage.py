"""A stage that several processes do together, of which one keeps the books."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from asr_parallel.parallel.transport import START_SECONDS, WORK_SECONDS


class Broadcasting(Protocol):
    """Processes of which rank 0 can tell the others something: a Transport, or a ServedRun."""

    @property
    def rank(self) -> int: ...

    def broadcast_object(self, value: Any, seconds: float | None = None) -> Any:
        """Return rank 0's JSON value, in every process. seconds: how long the others wait."""


def together(
    transport: Broadcasting, run_stage: Callable[[Callable[[Path], Any]], Any], work: Callable[[Path | None], Any]
) -> None:
    """Rank 0 runs the stage; whenever that builds, all processes work, and all come back when the result is there.

    Args:
        run_stage: given what builds the folder, builds it or finds it up to date.
        work: done by all; the folder to fill, None in processes other than rank 0.
    """
    if transport.rank:
        if transport.broadcast_object(None, START_SECONDS):
            work(None)
        transport.broadcast_object(None, WORK_SECONDS)
        return
    announced = False

    def build(folder: Path) -> None:
        nonlocal announced
        announced = True
        transport.broadcast_object(True)
        work(folder)

    run_stage(build)
    if not announced:
        transport.broadcast_object(False)
    transport.broadcast_object(None)


def agree(transport: Broadcasting, settings: dict[str, Any]) -> None:
    """Make sure that all processes were given the same.

    Raises:
        ValueError: another value here than in rank 0, with both.
    """
    of_first = transport.broadcast_object(settings)
    for name, value in settings.items():
        if of_first.get(name) != value:
            raise ValueError(
                f"rank {transport.rank}: {name} {value!r}, but rank 0 has {of_first.get(name)!r}; start all processes"
                " alike"
            )
