"""Cached stages: a folder is built once for given inputs and options, and is there whole or not at all.

Every stage's folder holds `stage.json`: its options, its inputs' fingerprints, versions, machine and wall time.
A stage runs again only when its options, its inputs or the package's version changed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asr_parallel import __version__
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json, whole_folder, write_json
from asr_parallel.record.log import logger

RECORD = "stage.json"
LARGE_FILE_BYTES = 64 << 20  # above this a file is known by size and time, below by content


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """What identifies an input: a stage's own fingerprint, a file's content, or a folder's list of files.

    Raises:
        ValueError: the input does not exist (with its path).
    """
    if (path / RECORD).is_file():
        return str(read_json(path / RECORD)["fingerprint"])
    if path.is_file():
        stat = path.stat()
        if stat.st_size > LARGE_FILE_BYTES:
            return _digest([stat.st_size, stat.st_mtime_ns])
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        return _digest([[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in found])
    raise ValueError(f"{path}: does not exist; run the stage that makes it first")


def check_inputs_unchanged(folder: Path) -> None:
    """Refuse a stage's folder whose inputs have been made anew, with another result, since it was built.

    Inputs that are gone are no reason to refuse: a folder may be kept or moved without them.

    Raises:
        ValueError: an input has changed (with both paths).
    """
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {"inputs": {}}
    for name, made_from in record["inputs"].items():
        path = Path(made_from["path"])
        if path.exists() and fingerprint(path) != made_from["fingerprint"]:
            raise ValueError(f"{folder}: its {name}, {path}, have changed since; run stage {record['stage']} again")


def run_stage(
    out: Path,
    build: Callable[[Path], None],
    *,
    number: int,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
) -> bool:
    """Build the folder `out` by `build(new_folder)`, unless it is there and nothing it depends on has changed.

    Args:
        out: the folder of the result.
        build: fills the (empty) folder it is given; that folder then takes the place of `out`.
        number: the recipe's stage this belongs to (0 corpus ... 8 compare), for the table of times.
        inputs: name -> file or folder the result depends on; folders made by a stage are known by their record.
        options: JSON-like values the result depends on. Anything that cannot change the result (the number of
            jobs, say) does not belong here.

    Returns:
        True when the stage ran, False when its result was up to date.

    Raises:
        ValueError: an input is missing, or something that no stage has made is in the way.
    """
    if out.exists() and not (out / RECORD).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out}: is there already and holds no {RECORD}; not replaced, because no stage has made it")
    input_prints = {name: fingerprint(path) for name, path in inputs.items()}
    print_of_all = _digest([__version__, dict(options), input_prints])
    if (out / RECORD).is_file() and read_json(out / RECORD)["fingerprint"] == print_of_all:
        logger.info("%s: up to date", out)
        return False
    logger.info("%s: building", out)
    started = datetime.now(UTC)
    start = time.monotonic()
    with whole_folder(out) as folder:
        build(folder)
        seconds = time.monotonic() - start
        write_json(
            folder / RECORD,
            {
                "fingerprint": print_of_all,
                "stage": number,
                "options": json.loads(json.dumps(dict(options), default=str)),
                "inputs": {
                    name: {"path": str(path), "fingerprint": input_prints[name]} for name, path in inputs.items()
                },
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(seconds, 3),
                "environment": environment(),
            },
        )
    logger.info("%s: done in %.1f s", out, seconds)
    return True
