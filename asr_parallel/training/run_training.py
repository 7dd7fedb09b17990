"""A run of stage 6: from a frame store to a folder with a network, going on with an unfinished training."""

import shutil
from pathlib import Path
from typing import Any

import torch

from asr_parallel import __version__
from asr_parallel.features.frames import FrameStore
from asr_parallel.parallel.asynchronous.board import ServedRun
from asr_parallel.parallel.group_stage import agree
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.sync_measures import SYNC_STATS
from asr_parallel.parallel.transport import START_SECONDS, LostError, SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.environment import environment
from asr_parallel.record.files import read_lines, resolve_links, write_json
from asr_parallel.record.options import flat
from asr_parallel.record.stage import check_inputs_unchanged, fingerprint
from asr_parallel.training.async_trainer import AsyncTrainer
from asr_parallel.training.final_model import ENSEMBLE
from asr_parallel.training.served_trainer import ServedTrainer
from asr_parallel.training.train_lines import EVENTS, LINES
from asr_parallel.training.train_options import TrainingOptions, config_identity
from asr_parallel.training.trainer import Trainer
from asr_parallel.training.work_folder import (
    IDENTITY,
    UNTRAINED,
    checkpoint_in_errors,
    find_unfinished,
    resume_or_start,
)

RATES = ("learning_rate", "final_learning_rate")  # options that a training may be gone on with that had others


def working_path(out: Path) -> Path:
    """Return the folder of an unfinished training whose network will be `out`: checkpoints, snapshots, logs.

    Where it is a symbolic link, the folder that points to, which need not be there.
    """
    return resolve_links(out.with_name(f"{out.name}.training"))


def train_into(
    folder: Path | None,
    work: Path,
    frames: Path,
    options: TrainingOptions,
    resume: bool | None,
    report_frames: int,
    checkpoint_frames: int,
    evaluate_frames: int | None = None,
    stack: Path | None = None,
    transport: Transport | None = None,
    served: ServedRun | None = None,
) -> None:
    """Train, or go on with a training, and leave its results in `folder`.

    They are the network, train.jsonl, training.json, tensorboard/, and where workers may synchronize sync_stats.json.

    Args:
        folder: of the result, there and empty; None in processes other than rank 0, which leave nothing.
        work: of the unfinished training.
        frames: frame store.
        resume: True: only go on, perhaps with other learning rates, False: start from the beginning, None: go on if
            `work` holds a checkpoint of this training; that of another one is kept aside.
        report_frames, checkpoint_frames, evaluate_frames: as for Trainer.run.
        stack, transport: as for Trainer.
        served: this process's part in an asynchronous run of several processes; no transport then.

    Raises:
        ValueError: there is nothing to go on with, bad options or data, features that have changed since `frames` was
            made of them, something that no training has made is in the way, or the training diverged.
        Interrupted: by a signal.
    """
    transport = transport or SingleProcess()
    periods = {"report": report_frames, "checkpoint": checkpoint_frames, "evaluate": evaluate_frames}
    named = {f"{name}_frames": value for name, value in periods.items()}
    board = served or transport
    agree(board, {"version": __version__, **flat(options), **named, "resume": resume, "frames": str(frames)})
    identity: dict[str, Any] = {}
    going_on = False
    if board.rank == 0:
        check_inputs_unchanged(frames)
        identity = {"version": __version__, "options": config_identity(options), "frames": fingerprint(frames)}
        if entry(options.workers.algorithm).cls.asynchronous:
            identity["workers"] = "simulated" if served is None else "in processes"  # of which checkpoints differ
        if stack is not None:
            layers = [stack / str(layer + 1) for layer in range(options.architecture.hidden_layers)]
            for layer in layers:  # each made of the one below as it is now, and of these frames
                check_inputs_unchanged(layer)
            identity["stack"] = [fingerprint(layer) for layer in layers]
        for name, given in {"teacher": options.soft_labels.teacher, "start": options.network.start}.items():
            if given is not None:
                identity[name] = fingerprint(Path(given))
        if options.workers.sites is not None:
            identity["sites"] = read_lines(Path(options.workers.sites))
        going_on = find_unfinished(work, identity, resume, RATES)
    going_on = board.broadcast_object(going_on, START_SECONDS)
    group = WorkerGroup(options.workers.workers, transport)
    trainer: Trainer
    if served is not None:
        trainer = served_trainer = ServedTrainer(FrameStore.open(frames), options, work, stack, served)
        if served.rank:
            served_trainer.work_for_center()
            return
    else:
        cls = AsyncTrainer if entry(options.workers.algorithm).cls.asynchronous else Trainer
        trainer = cls(FrameStore.open(frames), options, work, stack, group)
    resume_or_start(trainer, going_on, resume, identity, RATES, lambda: _machine(trainer, board.size))
    if trainer.recovery is not None and not trainer.frames:
        trainer.recovery.take_snapshot(trainer.frames)
    with checkpoint_in_errors(trainer.checkpoints, trainer.batches.frames_per_epoch, RATES[:1]):
        while True:
            try:
                network = trainer.run(report_frames, checkpoint_frames, evaluate_frames)
                break
            except LostError as error:
                if trainer.recovery is None:
                    raise
                group, state = trainer.recovery.recover(error)
            trainer = Trainer(trainer.store, options, work, stack, group)
            trainer.load_state_dict(state)
            assert trainer.recovery is not None
            trainer.recovery.take_snapshot(trainer.frames)  # another may be lost before the next synchronization
    if network is None or folder is None:
        return
    from asr_parallel.training.curves import plot_curves  # matplotlib takes a second, in other ranks for nothing

    network.save(folder)
    if options.workers.workers > 1 or trainer.scheduler.synchronizes:
        write_json(folder / SYNC_STATS, trainer.sync_stats)
    for name in (LINES, IDENTITY):
        shutil.copyfile(work / name, folder / name)
    shutil.copytree(work / EVENTS, folder / EVENTS)
    if (work / ENSEMBLE).exists():
        shutil.copytree(work / ENSEMBLE, folder / ENSEMBLE)
    plot_curves(folder / LINES, folder / "curves.png")


def _machine(trainer: Trainer, processes: int) -> dict[str, Any]:
    """Return the facts about a new training that its identity leaves out."""
    network = trainer.network
    arithmetic = {
        "device": str(network.device),
        "products": str(network.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
    return {"arithmetic": arithmetic, "environment": environment(), UNTRAINED: trainer.untrained_loss}
