"""The end of a training: its status and its held-out loss."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr_parallel.compare.checks import check_words
from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.run_jobs import Job
from asr_parallel.compare.watch import look
from asr_parallel.parallel.registry import entry
from asr_parallel.record.files import read_json
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.report.comparison import Status
from asr_parallel.training.divergence import has_diverged, highest_loss
from asr_parallel.training.evaluation import DIVERGED
from asr_parallel.training.train_lines import HELD_OUT, LINES, TRAIN
from asr_parallel.training.train_options import config_identity, read_options
from asr_parallel.training.work_folder import IDENTITY, UNTRAINED

Line = dict[str, Any]
HeldOut = Callable[[Line], tuple[float | None, float]]
"""Returns loss and accuracy on held-out data from a line of train.jsonl."""


def outcome(training: Training, held_out: HeldOut, job: Job, folder: Path, num_pdfs: int) -> tuple[Status, str]:
    """Return the status of a training, and the last line of its log where it failed or diverged.

    After a failed job the files in its folder are from an earlier one, perhaps with other options: they are not read.
    A completed one is checked again for divergence, because an older version may have missed it.
    """
    if failure := job.failure:
        return "diverged" if DIVERGED in failure else "failed", failure
    if not (folder / LINES).is_file():
        so_far = look(folder)
        return "missing", "" if so_far is None else f"{so_far.frames:,} frames so far, loss {so_far.loss}"
    facts = read_json(folder / IDENTITY)
    made = facts.get("identity", {}).get("options")
    # Of the very command: further options of all trainings are not in the matrix
    wanted = json.loads(json.dumps(config_identity(read_options(vars(check_words(*job.verbs[0]))))))
    if made is not None and made != wanted:
        return "missing", "what is there was trained with other options"
    lines = read_json_lines(folder / LINES)
    train_losses = [line.get("loss") for line in lines if line["kind"] == TRAIN]
    loss = final_loss(training, held_out, lines)
    highest = highest_loss(facts.get(UNTRAINED, 0.0), num_pdfs)
    if loss is None or has_diverged(loss, train_losses[-1] if train_losses else None, highest):
        shown = "not finite" if loss is None else f"{loss:.4g}"
        return "diverged", f"{DIVERGED}: held-out loss {shown} at the end, above {highest:.4g}"
    return "done", ""


def final_loss(training: Training, held_out: HeldOut, lines: list[Line]) -> float | None:
    """Return the last held-out loss among the lines of train.jsonl; None where it is not finite, 0 without any."""
    evaluations = [line for line in lines if line["kind"] == HELD_OUT]
    if training.training_options.resolved_schedule == "newbob":  # it takes epochs back
        evaluations = [line for line in evaluations if line["accepted"]] or evaluations
    return held_out(evaluations[-1])[0] if evaluations else 0.0


def of_model(line: Line) -> tuple[float | None, float]:
    """Return held-out loss and accuracy of the global model."""
    return line["loss"], line["accuracy"]


def _of_ensemble(line: Line) -> tuple[float | None, float]:
    return line["ensemble_loss"], line["ensemble_accuracy"]


def _of_best(line: Line) -> tuple[float | None, float]:
    """Return loss and accuracy of the worker that is best at that time, as the best one is exported."""
    losses = [math.inf if loss is None else loss for loss in line["workers_loss"]]
    best = losses.index(min(losses))
    return line["workers_loss"][best], line["workers_accuracy"][best]


def held_out_of(training: Training, suffix: str = "") -> HeldOut:
    """Return what reads the losses of a training. suffix: ENSEMBLE for all of its workers together."""
    if suffix:
        return _of_ensemble
    return _of_best if entry(training.algorithm).cls.ensemble else of_model
