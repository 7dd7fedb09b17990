"""JSON Lines files that are appended to, and stay readable when the program is killed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asr_parallel.record.files import write_lines


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, without a last line that was cut off while it was written.

    Raises:
        ValueError: another line is not a JSON object; names the file and the line.
    """
    lines = path.read_bytes().split(b"\n")
    values = []
    for number, line in enumerate(lines[:-1], start=1):  # the rest is empty or an incomplete line
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"{path}: line {number}: expected a JSON object")
        values.append(value)
    return values


class JsonLines:
    """A JSON Lines file to append to.

    It is opened and closed for each line, so that others can read the line at once and an error (full disk) is raised
    where it occurs.
    """

    def __init__(self, path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Open a file; of one that exists, keep the lines for which `keep` is true, in `kept`."""
        self._path = path
        self.kept = [value for value in read_json_lines(path) if keep(value)] if path.exists() else []
        write_lines(path, map(_line, self.kept))

    def append(self, value: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(value) + "\n")


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
