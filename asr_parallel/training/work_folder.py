"""The folder of an unfinished training: its identity, whether a run goes on with it, and the ones kept aside."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.transport import LostError
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.interrupt import Interrupted
from asr_parallel.record.log import logger
from asr_parallel.training.checkpoint import CHECKPOINTS, Checkpoints, remove_work
from asr_parallel.training.loop import Loop

IDENTITY = "training.json"
UNTRAINED = "untrained_loss"  # in IDENTITY: on held-out data, nats a frame
WENT_ON = "went_on_after_frames"  # in IDENTITY: of a training whose times and bytes are not those of the whole
RATES = "learning_rates"  # in IDENTITY, when they were changed on the way: from which frames on which options held
KEPT = ".kept-"  # after the name of a folder that is kept aside: and a number


def find_unfinished(work: Path, identity: Mapping[str, Any], resume: bool | None, rates: Collection[str] = ()) -> bool:
    """Return whether `work` holds this training, unfinished; keep that of another one aside.

    Args:
        work: folder with IDENTITY, there or not.
        identity: "version", "options" and fingerprints of what else decides the training.
        resume: True: go on only, False: begin anew, None: go on if it is the same training.
        rates: options that may be others than before when resume is True.

    Raises:
        ValueError: resume is True and more is different; names it. Or IDENTITY is something else.
    """
    if resume is False:
        return False
    before = _identity(work) if (work / IDENTITY).is_file() else None
    changes = {} if before is None else _changes(before, identity)
    if before is not None and not changes:
        return True
    folder = work.resolve()
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    kept = [path for path in beside if path.name.startswith(folder.name + KEPT) and (path / IDENTITY).is_file()]
    same = next((path for path in sorted(kept) if _identity(path) == identity), None)
    if same is None and resume:
        if changes.keys() - set(rates):
            raise ValueError(f"{work}: is of a training with {', '.join(changes.values())}; not gone on with")
        return before is not None
    if before is not None:
        _keep_aside(work, folder, ", ".join(changes.values()))
    if same is not None:
        logger.info("%s: is of this training, and is gone on with", same)
        same.rename(folder)
    return same is not None


def resume_or_start(
    loop: Loop,
    going_on: bool,
    resume: bool | None,
    identity: Mapping[str, Any],
    rates: Collection[str],
    record: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Load the newest checkpoint of the training in the loop's folder, or make that folder anew. Collective.

    Args:
        loop: with nothing trained yet.
        going_on: whether the folder holds this training, see find_unfinished.
        resume, identity, rates: as for find_unfinished.
        record: return what IDENTITY has beside the identity, for a new training.

    Raises:
        ValueError: resume is True and there is no checkpoint, or what is in the way was made by no training.
    """
    work, is_main = loop.work, loop.group.is_main
    checkpoint = loop.newest_checkpoint() if going_on else None
    if resume and checkpoint is None:
        raise ValueError(f"{work}: no checkpoint of a training with these options and inputs to go on from")
    if checkpoint is not None:
        logger.info("%s: going on after %d frames", work, checkpoint.frames)
        loop.resume(checkpoint)
        if is_main:
            record_resumed(work, identity, checkpoint.frames, rates)
    elif is_main:
        if work.exists():
            if not (work / IDENTITY).is_file() and any(not path.name.startswith(".") for path in work.iterdir()):
                raise ValueError(f"{work}: is there already and holds no {IDENTITY}; not replaced: no training made it")
            logger.info("%s: starting anew; what was there is removed", work)
        remove_work(work)
        work.mkdir(parents=True)
        write_json(work / IDENTITY, {"identity": identity, **record()})


def record_resumed(work: Path, identity: Mapping[str, Any], frames: int, rates: Collection[str] = ()) -> None:
    """Write into IDENTITY that the training goes on after so many frames, and with which rates if they are others."""
    record = read_json(work / IDENTITY)
    before = _identity(work)
    if frames:
        record[WENT_ON] = frames
    if before != identity:
        was, now = ({name: of["options"][name] for name in rates} for of in (before, identity))
        # What was planned from a later point on, and is trained anew, does not count
        earlier = [span for span in record.get(RATES, [{"from_frames": 0, **was}]) if span["from_frames"] < frames]
        record[RATES] = [*earlier, {"from_frames": frames, **now}]
        logger.warning(
            "%s: other learning rates from here on: %s", work, ", ".join(_changes(before, identity).values())
        )
    write_json(work / IDENTITY, record | {"identity": identity})


@contextmanager
def checkpoint_in_errors(checkpoints: Checkpoints, frames_per_epoch: int, rates: Collection[str]) -> Iterator[None]:
    """Add to errors from which checkpoint the same command, or one with a lower rate, goes on."""
    try:
        yield
    except Interrupted as error:
        says = f"interrupted; the same command goes on from {_last(checkpoints, frames_per_epoch)}"
        raise Interrupted(error.number, "" if checkpoints.transport.rank else says) from None
    except LostError as error:
        raise LostError(f"{error}; the same command goes on from {_last(checkpoints, frames_per_epoch)}") from error
    except DivergedError as error:
        options = " or ".join(_flag(name) for name in rates)
        raise DivergedError(
            f"{error}; --resume with a lower {options} goes on from {_last(checkpoints, frames_per_epoch)}"
        ) from error


def _last(checkpoints: Checkpoints, frames_per_epoch: int) -> str:
    frames = checkpoints.last_frames
    if not frames:
        return "the beginning"
    return f"the checkpoint after {frames} frames (epoch {frames / frames_per_epoch:.3g})"


def _identity(work: Path) -> dict[str, Any]:
    found = read_json(work / IDENTITY)
    identity = found.get("identity", found) if isinstance(found, dict) else None
    if not isinstance(identity, dict) or not isinstance(identity.get("options"), dict):
        raise ValueError(f"{work / IDENTITY}: does not describe a training; --no-resume starts anew")
    return identity


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return differences in words, by name of the option or input."""
    changes = {}
    for group, flag in ((("options",), _flag), ((), str), (("inputs",), str)):
        was, new = before, now
        for name in group:
            was, new = was.get(name, {}), new.get(name, {})
        for name in {**was, **new}:
            if was.get(name) != new.get(name) and name not in ("options", "inputs"):
                changes[name] = f"{flag(name)} {_shown(was.get(name), new.get(name))}"
    return changes


def _shown(before: Any, now: Any) -> str:
    if any(isinstance(value, list) or re.fullmatch("[0-9a-f]{64}", str(value)) for value in (before, now)):
        return "of other contents"
    before, now = ("not given" if value is None else value for value in (before, now))
    return f"{before} (now {now})"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _keep_aside(work: Path, folder: Path, changes: str) -> None:
    """Rename a folder in which something was trained; another is left where it is, to be removed."""
    last = Checkpoints(folder / CHECKPOINTS).last_frames
    if not last:
        return
    number = 1
    while (kept := folder.with_name(f"{folder.name}{KEPT}{number}")).exists():
        number += 1
    folder.rename(kept)
    if work.is_symlink():
        folder.mkdir()
    logger.warning(
        "%s: unfinished after %d frames, of a training with %s; kept as %s, from where the command of then goes on",
        work, last, changes, kept,
    )  # fmt: skip
