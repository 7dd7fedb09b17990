"""Tuning: the trials of every contestant are trained, and the values of the best one are taken."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_parallel.compare.jobs import Experiment, training_job
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import Training
from asr_parallel.compare.modelled import frames_of_epoch
from asr_parallel.compare.outcome import final_loss, held_out_of, outcome
from asr_parallel.compare.run_jobs import Executor, Job
from asr_parallel.compare.search_space import Values, at_edge
from asr_parallel.compare.watch import Expected, JobWatch
from asr_parallel.features.frames import FrameStore
from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.record.log import logger
from asr_parallel.report.tuning import Contestant, Trial, Tuning
from asr_parallel.training.train_lines import LINES

FOLDER = "trials"
ONCE_AN_EPOCH = 1 << 40  # frames between evaluations: more than an epoch has


def tune(
    matrix: Matrix, experiment: Experiment, out: Path, store: FrameStore, executor: Executor | None
) -> tuple[Matrix, Tuning | None]:
    """Train the trials and return the matrix with the values that were chosen, and the record of how; None: no tuning.

    Args:
        out: the comparison's folder; trials that are done there are not trained again.
        executor: where they are trained; None: nowhere, and contestants whose trials are not done are left as they are.

    Raises:
        ValueError: a trial failed, but not by diverging; or all trials of a contestant diverged.
    """
    trials, space = matrix.trials(), matrix.search_space
    if space is None or not trials:
        return matrix, None
    folder = out / FOLDER
    all_trials = [one for of in trials.values() for _, one in of]
    jobs = {one.name: training_job(one, matrix, experiment, folder, ONCE_AN_EPOCH) for one in all_trials}
    if executor is not None:
        in_order = list(jobs.values())
        executor.run(in_order, JobWatch("tuning", in_order, expected_of(all_trials, store), executor.at_once))
        unfinished = set[str]()
    else:
        unfinished = {name for name, of in trials.items() if not all(_ended(one, jobs, folder) for _, one in of)}
        logger.info("tuning: %d of %d contestants are done", len(trials) - len(unfinished), len(trials))
    contestants = [
        _contestant(name, of, jobs, folder, store.num_pdfs) for name, of in trials.items() if name not in unfinished
    ]
    if not contestants:
        return matrix, None
    if hopeless := [one.name for one in contestants if one.trials[one.best].loss is None]:
        raise ValueError(f"all trials diverged: {', '.join(hopeless)}; expected a space with lower learning rates")
    chosen = {one.name: one.trials[one.best].values for one in contestants}
    ranges = {name: str(of) for name, of in space.space.items()}
    for optimizer, own in space.optimizers.items():
        ranges |= {f"{name} of {optimizer}": str(of) for name, of in own.items()}
    return matrix.tuned(chosen), Tuning(space.budget, space.seed, ranges, tuple(contestants))


def _ended(trial: Training, jobs: Mapping[str, Job], folder: Path) -> bool:
    return (folder / trial.name / LINES).is_file() or jobs[trial.name].failure is not None


def expected_of(trainings: Sequence[Training], store: FrameStore) -> dict[str, Expected]:
    """Return the sizes of trainings that are not decoded, whose time goes by their frames."""
    frames = {
        one.name: frames_of_epoch(store, one.training_options) * one.training_options.schedule.epochs
        for one in trainings
    }
    return {name: Expected(number, float(number)) for name, number in frames.items()}


def _contestant(
    name: str, trials: Sequence[tuple[Values, Training]], jobs: Mapping[str, Job], folder: Path, num_pdfs: int
) -> Contestant:
    done = [Trial(values, _loss(one, jobs[one.name], folder / one.name, num_pdfs)) for values, one in trials]
    best = min(range(len(done)), key=lambda n: math.inf if (loss := done[n].loss) is None else loss)
    return Contestant(name, tuple(done), best, at_edge([one.values for one in done], done[best].values))


def _loss(trial: Training, job: Job, folder: Path, num_pdfs: int) -> float | None:
    """Return the final held-out loss of a trial; None: it diverged."""
    held_out = held_out_of(trial)
    status, error = outcome(trial, held_out, job, folder, num_pdfs)
    if status == "diverged":
        return None
    if status != "done":
        raise ValueError(f"trial {trial.name}: {error or 'was not trained'}; see {job.log}")
    return final_loss(trial, held_out, read_json_lines(folder / LINES))
