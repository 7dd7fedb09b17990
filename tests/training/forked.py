"""Processes started often: forked from one that has all imported, and killed, if asked, at a given step of theirs.

A step is a change of the file system: a file opened for writing, a name made, changed or removed. A process that kills
itself just before its n-th one dies where a real kill would, but at the same place each time the test runs.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_start import context, start_server

STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
SECONDS = 60  # more than any of them takes


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, negative for a signal; what it wrote; how many steps it took."""

    status: int
    said: str
    steps: int


def run_forked(folder: Path, work: Callable[..., int | None], *args: Any, kill_at: int | None = None) -> Ended:
    """Run work(*args), a function of a module, in another process. folder: for notes, apart from what is tested."""
    folder.mkdir(exist_ok=True)
    said, steps = folder / "said", folder / "steps"
    steps.write_text("0")
    start_server()
    process = context.Process(target=_child, args=(work, args, said, steps, kill_at))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return Ended(process.exitcode, said.read_text(), int(steps.read_text()))


def _child(
    work: Callable[..., int | None], args: tuple[Any, ...], said: Path, steps: Path, kill_at: int | None
) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    taken, counting = 0, True

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal taken
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if counting and (writes or event in STEPS):
            taken += 1
            if taken == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    status = work(*args)
    counting = False
    steps.write_text(str(taken))
    sys.exit(status or 0)
