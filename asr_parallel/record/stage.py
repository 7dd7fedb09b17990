"""Cached stages: a folder is built once for given inputs and options, atomically.

Every stage's folder holds `stage.json`: its options, its inputs' fingerprints, versions, machine and wall time.
A stage runs again only when its options, its inputs' contents or the package's version changed. The location of
an experiment and the times of its files do not matter: it may be moved and copied.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asr_parallel import __version__
from asr_parallel.record.environment import environment
from asr_parallel.record.files import atomic_folder, list_files, read_json, write_json
from asr_parallel.record.fingerprint import Digests, digest
from asr_parallel.record.lock import locked, output_folder
from asr_parallel.record.log import logger

RECORD = "stage.json"
DIGESTS = ".digests.json"  # cached digests of the stage's input files


def _absolute(path: Path) -> str:
    """Return an absolute path without "..", symbolic links not followed."""
    return os.path.normpath(path.absolute())


def _record(folder: Path) -> dict[str, Any]:
    """Return the record of a stage's folder; empty where no stage made the folder.

    Raises:
        ValueError: the record is damaged.
    """
    if not (folder / RECORD).is_file():
        return {}
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not isinstance(record.get("fingerprint"), str):
        raise ValueError(f"{folder / RECORD}: is not what a stage has written; remove {folder} to make it again")
    return record


def fingerprint(path: Path, digests: Digests | None = None) -> str:
    """Return the fingerprint of an input: that of its stage, of a file's content, or of a folder's names and contents.

    In a folder that no stage has made, names that begin with a dot do not count.

    Raises:
        ValueError: the input does not exist (with its path).
    """
    digests = digests or Digests()
    if record := _record(path):
        return str(record["fingerprint"])
    if path.is_file():
        return digests.of(path)
    if path.is_dir():
        found = {file.relative_to(path).as_posix(): file for file in list_files(path)}
        seen = {name: file for name, file in found.items() if not any(p.startswith(".") for p in name.split("/"))}
        return digests.of_all(seen)
    raise ValueError(f"{path}: does not exist; run the stage that makes it first")


def original_path(folder: Path) -> str | None:
    """Return the absolute path that a stage's folder, or one in it, had when it was made; None where no stage made it.

    A folder that has another path now was moved or copied since.
    """
    for made, rest in ((folder, ""), (folder.parent, folder.name)):
        if record := _record(made):
            was = record.get("folder")
            return None if was is None else os.path.normpath(Path(was) / rest)
    return None


def moved_path(path: str, was: str | None, folder: Path) -> Path:
    """Return the present location of a path that was written into a folder.

    When a whole experiment was moved or copied, the relative path from the folder still holds; if nothing exists there,
    the path as written is returned.

    Args:
        path: as it was written.
        was: path of the folder then, see `original_path`.
        folder: path of the folder now.
    """
    now = _absolute(folder)
    if was is None or was == now:
        return Path(path)
    along = Path(os.path.normpath(Path(now) / os.path.relpath(path, was)))
    return along if along.exists() else Path(path)


def check_inputs_unchanged(folder: Path) -> None:
    """Raise an error if inputs of a stage's folder have changed since it was built.

    Missing inputs are ignored: a folder may be kept or moved without them. For a folder that was moved or copied, only
    inputs that were moved along are checked.

    Raises:
        ValueError: an input has changed (with both paths).
    """
    record = _record(folder)
    was = original_path(folder)
    moved = was not in (None, _absolute(folder))
    for name, made_from in record.get("inputs", {}).items():
        path = moved_path(made_from["path"], was, folder)
        left_behind = moved and path == Path(made_from["path"])
        if not left_behind and path.exists() and fingerprint(path) != made_from["fingerprint"]:
            raise ValueError(f"{folder}: its {name}, {path}, have changed since; run stage {record['stage']} again")


def run_stage(
    out: Path,
    build: Callable[[Path], None],
    *,
    number: int,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    sounds: Mapping[str, Path] | None = None,
    places: Iterable[Path] = (),
    finish: Callable[[], None] | None = None,
) -> bool:
    """Build the folder `out` by `build(new_folder)`, unless it exists and is up to date.

    When several processes try to build the same folder, the first does; the others raise ValueError.

    Args:
        out: the folder of the result.
        build: fills the (empty) folder it is given; that folder then takes the place of `out`.
        number: the recipe's stage this belongs to (0 corpus ... 8 compare), for the table of times.
        inputs: name -> file or folder the result depends on; folders made by a stage are known by their record.
        options: JSON-like values the result depends on. Anything that cannot change the result (the number of
            jobs, a path) does not belong here.
        sounds: name -> sound file that an input names; its content counts.
        places: paths that the result contains. When they change it is built again, but later stages stay valid.
        finish: called when the result is complete, while the lock is still held.

    Returns:
        True when the stage ran, False when its result was up to date.

    Raises:
        ValueError: an input is missing, `out` was not made by a stage, or another process is building it.
    """
    output_folder(out)
    if out.exists() and not (out / RECORD).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out}: is there already and holds no {RECORD}; not replaced, because no stage has made it")
    digests = Digests(out / DIGESTS)
    prints = {name: fingerprint(path, digests) for name, path in inputs.items()}
    of_sounds = {} if sounds is None else {"sounds": digests.of_all(sounds, are_sounds=True)}
    wanted = {
        "fingerprint": digest([__version__, dict(options), prints | of_sounds]),
        "places": _places(out, places),
    }
    if finish is None and _up_to_date(out, wanted):  # works on read-only folders, too
        logger.info("%s: up to date", out)
        digests.keep()
        return False
    with locked(out):
        ran = not _up_to_date(out, wanted)
        if ran:
            logger.info("%s: building", out)
            record = {
                "folder": _absolute(out),
                "stage": number,
                "options": json.loads(json.dumps(dict(options), default=str)),
                "inputs": {
                    name: {"path": _absolute(path), "fingerprint": prints[name]} for name, path in inputs.items()
                },
            }
            _build(out, build, wanted | of_sounds | record, digests)
        else:
            logger.info("%s: up to date", out)
            digests.keep()
        if finish is not None:
            finish()
    return ran


def _build(out: Path, build: Callable[[Path], None], record: Mapping[str, Any], digests: Digests) -> None:
    started = datetime.now(UTC)
    start = time.monotonic()
    with atomic_folder(out) as folder:
        build(folder)
        seconds = time.monotonic() - start
        digests.keep(folder / DIGESTS)
        made = {"started": started.isoformat(timespec="seconds"), "seconds": round(seconds, 3)}
        write_json(folder / RECORD, {**record, **made, "environment": environment()})
    logger.info("%s: done in %.1f s", out, seconds)


def _places(out: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return digests of where files are, from the root and from `out`: one stays when an experiment is moved."""
    absolute = sorted({_absolute(path) for path in paths})
    return {"absolute": digest(absolute), "relative": digest([os.path.relpath(path, out) for path in absolute])}


def _up_to_date(out: Path, wanted: Mapping[str, Any]) -> bool:
    record = _record(out)
    same_place = any(record.get("places", {}).get(kind) == value for kind, value in wanted["places"].items())
    return same_place and bool(record["fingerprint"] == wanted["fingerprint"])
