"""The number of exchanges of a training's workers, what limits cut away of their steps, and warnings."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_parallel.compare.matrix_training import Training
from asr_parallel.parallel.registry import entry
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Cell
from asr_parallel.training.train_lines import TRAIN

LEAST_SYNCS = 10  # of a worker; ours: with fewer, what a rule does between synchronizations is hardly repeated


def cut_share(lines: Iterable[dict[str, Any]]) -> float | None:
    """Return the share of a step's length that limits cut away, mean over a training's frames; None: not recorded.

    Args:
        lines: of train.jsonl.
    """
    cut, frames, before = 0.0, 0, 0
    for line in lines:
        if line["kind"] == TRAIN:
            if (scale := line.get("max_change_scale")) is not None:
                cut += (1 - scale) * (line["frames"] - before)
                frames += line["frames"] - before
            before = line["frames"]
    return cut / frames if frames else None


def with_exchanges(cell: Cell, training: Training, stats: Path, epoch_frames: int) -> Cell:
    """Return a cell with its number of synchronizations, and warnings where these or the data are few.

    Of periods that grow the longest one counts, in which most data are asked for.

    Args:
        stats: sync_stats.json of its training.
        epoch_frames: of all workers.
    """
    options = training.training_options
    if training.is_plain:
        return cell
    found = entry(training.algorithm)
    syncs = _syncs(found.cls.asynchronous, training.workers, stats) if found.communicates else 0.0
    warnings = []
    if found.communicates and syncs is not None and syncs < LEAST_SYNCS:
        warnings.append(f"{syncs:.3g} synchronizations of a worker, fewer than {LEAST_SYNCS}")
    constants = options.algorithm
    if cell.periods:
        constants = replace(constants, period=cell.periods[-1])
    least = found.cls(constants).least_frames(training.workers, options.optimization.minibatch)
    if epoch_frames < least:
        when = f" with its longest period, {cell.periods[-1]} minibatches" if cell.periods else ""
        warnings.append(f"{epoch_frames:,} frames an epoch, fewer than the {least:,} that its momentum remembers{when}")
    return replace(cell, syncs=syncs, warnings=tuple(warnings))


def _syncs(asynchronous: bool, workers: int, stats: Path) -> float | None:
    """Return the synchronizations of a worker; None where none were recorded, or by an older version not."""
    recorded = read_json(stats).get("syncs") if stats.is_file() else None
    if recorded is None:
        return None
    return recorded / workers if asynchronous else float(recorded)
