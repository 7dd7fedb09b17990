"""The results of the trainings of a matrix, for a report."""

import math
import shlex
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asr_parallel.clock.modelled_clock import ModelledClock
from asr_parallel.compare.exchanges import cut_share, with_exchanges
from asr_parallel.compare.jobs import ENSEMBLE, Experiment, options_of
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import Training, single_worker_of
from asr_parallel.compare.modelled import Machine
from asr_parallel.compare.outcome import HeldOut, Line, held_out_of, of_model, outcome
from asr_parallel.compare.run_jobs import Job
from asr_parallel.compare.staleness import with_staleness
from asr_parallel.corpus.set_names import report_order
from asr_parallel.decode.significance import mapsswe, wer_interval
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.sync_measures import SYNC_STATS
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_json
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.report.comparison import (
    MARGIN,
    Cell,
    ClockInputs,
    Comparison,
    Evaluation,
    MeasuredTime,
    ModelledTime,
    Plain,
    WordErrors,
)
from asr_parallel.report.published import PUBLISHED
from asr_parallel.training.train_lines import HELD_OUT, LINES, TRAIN
from asr_parallel.training.work_folder import IDENTITY, WENT_ON


def collect(
    matrix: Matrix,
    jobs: Mapping[str, Job],
    experiment: Experiment,
    out: Path,
    machine: Machine,
    command: Sequence[str],
    margin: float = MARGIN,
) -> Comparison:
    """Return one cell for each training, and one more for the ensemble of its workers where they were kept.

    Args:
        jobs: by the training's name.
        out: the comparison's folder.
        machine: on which the trainings are modelled.
        command: that made the comparison.
        margin: see Comparison.
    """
    cells: list[Cell] = []
    common, options = options_of(jobs)
    # Of a contestant whose period was tuned it is one of the chosen values, and no part of what it is
    tuned_periods = {name for name, trials in matrix.trials().items() if "period" in trials[0][0]}
    for training in matrix.trainings:
        base = single_worker_of(training, matrix.trainings)
        for suffix in ("", ENSEMBLE) if training.training_options.keeps_workers else ("",):
            cells.append(_cell(training, suffix, base, jobs, out, machine, options, tuned_periods, experiment.sets))
    facts = environment()
    hardware = {name: value for name, value in facts.items() if name in ("cpu", "cores", "gpu", "system")}
    versions = {"asr_parallel": facts["asr_parallel"], "revision": facts["revision"], "python": facts["python"]}
    network = machine.network
    scorers = sorted({errors.scorer for cell in cells for errors in cell.wer.values()})
    return Comparison(
        title=matrix.title or f"Algorithms and workers in {experiment.folder.name}",
        corpus=str(experiment.folder),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cells=tuple(cells),
        scorer=", ".join(scorers),
        synthetic=experiment.synthetic,
        hardware=hardware,
        versions=versions | facts["packages"],
        clock=ClockInputs(network.name, network.alpha, network.beta, machine.step_seconds, machine.how),
        commands=(shlex.join(command),),
        published=PUBLISHED,
        options=common,
        target=matrix.target,
        other_network="" if machine.other_network is None else machine.other_network.name,
        margin=margin,
        sets=tuple(report_order(experiment.sets)),
    )


def _cell(
    training: Training,
    suffix: str,
    base: Training,
    jobs: Mapping[str, Job],
    out: Path,
    machine: Machine,
    options: Mapping[str, dict[str, Plain]],
    tuned_periods: Container[str],
    sets: Iterable[str],
) -> Cell:
    """Return a cell.

    Args:
        suffix: "", or ENSEMBLE for the ensemble of its workers.
        tuned_periods: contestants whose period was tuned.
        sets: that were decoded.
    """
    folder, decoded = out / training.name, out / (training.name + suffix)
    held_out, job = held_out_of(training, suffix), jobs[training.name]
    status, error = outcome(training, held_out, job, folder, machine.shape[-1])
    common: dict[str, Any] = {
        "name": training.name + suffix,
        "algorithm": training.algorithm + (" (all together)" if suffix else ""),
        "workers": training.workers,
        "moved": training.workers == 1 and not training.is_plain,
        "optimizer": training.optimizer,
        "seed": training.seed,
        "label": training.label,
        "budget": training.budget,
        "period": None if training.contestant in tuned_periods else _period(training),
        "command": _command(job, training, suffix),
        "options": options[training.name],
        "folder": str(decoded),
        "error": error,
    }
    if status != "done":
        return Cell(status=status, **common)
    clock, alone = machine.clock(training), machine.clock(base)
    # The baseline's minibatches may have another size
    faster = alone.work.one_worker_seconds(1.0) / clock.work.one_worker_seconds(1.0)
    lines = read_json_lines(folder / LINES)
    frames = int(lines[-1]["frames"])
    learning_curve = _learning_curve(lines, held_out, clock)
    scored = {name: decoded / f"decode_{name}" for name in sets}
    single = training.is_plain
    compared = outcome(base, held_out_of(base), jobs[base.name], out / base.name, machine.shape[-1])[0] == "done"
    wer = {
        name: _errors(path, None if single or not compared else out / base.name / path.name)
        for name, path in scored.items()
    }
    uninterrupted = WENT_ON not in read_json(folder / IDENTITY)
    same_loss = 1.0 if single else None
    if not single and compared:
        same_loss = _speedup_to_loss(learning_curve, out / base.name, alone)
    cell = Cell(
        status="done",
        frames=frames,
        learning_curve=tuple(learning_curve),
        wer={name: errors for name, errors in wer.items() if errors is not None},
        measured=_measured(folder, lines) if uninterrupted else None,
        modelled=_modelled(clock, frames),
        other_seconds=None
        if machine.other_network is None
        else _modelled(machine.clock(training, machine.other_network), frames).seconds,
        speedup_frames=faster * clock.speedup(),
        efficiency=faster * clock.efficiency(),
        peak_speedup=faster * clock.peak(),
        speedup_loss=same_loss,
        periods=_periods(clock),
        bytes_per_worker=int(read_json(folder / SYNC_STATS)["bytes_per_worker"])
        if training.workers > 1 and uninterrupted
        else None,
        **common,
    )
    cell = with_staleness(cell, folder / SYNC_STATS)
    return with_exchanges(replace(cell, cut_share=cut_share(lines)), training, folder / SYNC_STATS, machine.frames)


def _command(job: Job, training: Training, suffix: str) -> str:
    """Return the commands of a cell: training, decoding and scoring. A job's last verbs are the ensemble's."""
    train, *decode = job.verbs
    first = len(decode) // 2 if training.training_options.keeps_workers else len(decode)
    own = decode[first:] if suffix else decode[:first]
    return " && ".join("asr-parallel " + shlex.join(verb) for verb in (train, *own))


def _period(training: Training) -> int | None:
    """Return the minibatches between two synchronizations; None for a plain single worker."""
    return None if training.is_plain else entry(training.algorithm).cls(training.training_options.algorithm).period


def _periods(clock: ModelledClock) -> tuple[int, ...]:
    """Return the shortest and the longest round by the quadratic rule, as planned; empty where periods do not grow."""
    rounds = clock.rounds()
    whole = rounds[:-1] or rounds  # the end of the training may cut the last one
    return (min(whole), max(whole)) if rounds else ()


def _learning_curve(lines: list[Line], held_out: HeldOut, clock: ModelledClock) -> list[Evaluation]:
    """Return the evaluations, without those that newbob took back; seconds are of training alone."""
    learning_curve = []
    seconds_after = clock.seconds_after()
    for line, seconds in with_seconds(lines):
        if line["kind"] == HELD_OUT and line["accepted"]:
            loss, accuracy = held_out(line)
            learning_curve.append(Evaluation(line["frames"], loss, accuracy, seconds, seconds_after(line["frames"])))
    return learning_curve


def with_seconds(lines: Iterable[Line]) -> Iterator[tuple[Line, float]]:
    """Yield the lines of train.jsonl with the seconds of training until then, evaluations left out."""
    seconds, before = 0.0, 0
    for line in lines:
        if line["kind"] == TRAIN:
            seconds += (line["frames"] - before) / line["frames_per_second"]
            before = line["frames"]
        yield line, seconds


def _errors(decode: Path, base: Path | None) -> WordErrors | None:
    """Return the word errors of a decode, None where it was not scored. base: the single worker's decode."""
    record = decode / "scoring" / "wer.json"
    if not record.is_file():
        return None
    wer = read_json(record)
    interval = wer_interval(decode) if len(wer["per_speaker"]) > 1 else None
    compared = base is not None and (base / "scoring" / "wer.json").is_file()
    return WordErrors(
        words=wer["words"],
        wer=wer["wer"],
        substitutions=wer["sub"],
        deletions=wer["del"],
        insertions=wer["ins"],
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        p_value=mapsswe(decode, base).p if compared and base is not None else None,
        scorer=f"{wer['scorer']}, {wer['rules']} rules",
        per_speaker={name: (counts["errors"], counts["words"]) for name, counts in wer["per_speaker"].items()},
    )


def _measured(folder: Path, lines: list[Line]) -> MeasuredTime:
    """Return the time of rank 0; a single worker has no synchronizations. Compute is the rest of the training."""
    *_, (_, seconds) = with_seconds(lines)
    total = float(read_json(folder / "stage.json")["seconds"])
    wait = exchange = label = 0.0
    if (folder / SYNC_STATS).is_file():
        own = read_json(folder / SYNC_STATS)["ranks"][0]
        phases = own.get("phases", {})
        wait, label = own["waited_seconds"], phases.get("label", 0.0)
        # An ensemble's exchange includes the wait
        exchange = max(0.0, phases["exchange"] - wait) if phases else own["moved_seconds"]
    compute = max(0.0, seconds - wait - exchange - label)
    return MeasuredTime(total, compute, wait, exchange, label, max(0.0, total - compute - wait - exchange - label))


def _modelled(clock: ModelledClock, frames: int) -> ModelledTime:
    parts = clock.epoch().times(frames / clock.frames)
    return ModelledTime(parts.total, parts.compute, parts.wait, parts.exchange, parts.label)


def _speedup_to_loss(learning_curve: list[Evaluation], base: Path, alone: ModelledClock) -> float | None:
    """Return the speedup to the single worker's last held-out loss in modelled time; 0 where it is never reached."""
    if not (base / LINES).is_file():
        return None
    of_base = _learning_curve(read_json_lines(base / LINES), of_model, alone)
    wanted = of_base[-1].loss if of_base else None
    if wanted is None:
        return None
    one, this = (reached([(at.modelled_seconds, at.loss) for at in of], wanted) for of in (of_base, learning_curve))
    return (one / this if this else 0.0) if one else None


def reached(learning_curve: Iterable[tuple[float | None, float | None]], loss: float) -> float | None:
    """Return the point at which a learning curve of (seconds or frames, loss) first reaches a loss; None: never.

    It is interpolated. Points with an unknown value or a loss that is not finite are left out.
    """
    before: tuple[float, float] | None = None
    for where, now in learning_curve:
        if where is None or now is None or not math.isfinite(now):
            continue
        if now <= loss:
            return where if before is None else before[0] + (where - before[0]) * (before[1] - loss) / (before[1] - now)
        before = where, now
    return None
