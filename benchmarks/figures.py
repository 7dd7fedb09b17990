"""Figures of benchmarks as JSON lines, one a figure, with the machine, the versions and the commit they are of."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_parallel.record.environment import environment


@dataclass(frozen=True)
class Figures:
    """A file that figures are appended to; None: they are only printed.

    path: of the file.
    benchmark: name of the program.
    """

    path: Path | None
    benchmark: str

    def add(self, figure: str, speeds: dict[str, float], unit: str = "frames/s") -> None:
        """Append the speeds of contestants that took turns, each with its ratio to the first.

        Args:
            figure: what was measured, with its sizes.
            speeds: by contestant; more is better.
            unit: of the speeds.
        """
        if self.path is None:
            return
        import torch  # here, since to compare figures takes none of it

        base = next(iter(speeds.values()))
        machine = environment() | {"vector_instructions": torch.backends.cpu.get_cpu_capability()}
        shared = {"benchmark": self.benchmark, "figure": figure, "unit": unit, "environment": machine}
        with self.path.open("a", encoding="utf-8") as lines:
            for contestant, speed in speeds.items():
                own = {"contestant": contestant, "value": speed, "ratio": speed / base}
                lines.write(json.dumps(shared | own) + "\n")


def read_figures(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the newest line of each (benchmark, figure, contestant); ValueError for a line that is none."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            key = (one["benchmark"], one["figure"], one["contestant"])
            found[key] = one | {"value": float(one["value"]), "ratio": float(one["ratio"])}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: expected a figure of a benchmark") from error
    return found
