"""asr-parallel compare: stage 8, algorithms and numbers of workers side by side."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.record.environment import cpu_count

if TYPE_CHECKING:
    from asr_parallel.clock.interconnect import Interconnect
    from asr_parallel.compare.jobs import Experiment
    from asr_parallel.compare.matrix import Matrix
    from asr_parallel.compare.modelled import Machine

EVALUATIONS = 4  # an epoch, unless said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from asr_parallel.clock.interconnect import PRESETS

    parser.add_argument("--exp", type=Path, required=True, help="experiment folder whose stages 0 to 4 are done")
    parser.add_argument("--matrix", type=Path, required=True, help="YAML file of what is compared (docs/compare.md)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the comparison, which may be half done")
    network = "of the modelled clock (docs/clock.md; default: %(default)s)"
    parser.add_argument("--network", choices=tuple(PRESETS), default="10gbe", help=network)
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="processes at a time (default: the cores)")
    text = "between evaluations on held-out data (default: a quarter of an epoch)"
    parser.add_argument("--evaluate-frames", type=int, metavar="N", help=text)
    for verb in ("train", "decode", "score"):
        parser.add_argument(f"--{verb}-options", default="", metavar="WORDS", help=f"more options of all {verb} verbs")
    parser.add_argument("--dry-run", action="store_true", help="only list the trainings, with predicted hours")


def run(args: argparse.Namespace) -> None:
    from asr_parallel.clock.interconnect import PRESETS
    from asr_parallel.compare.jobs import Experiment
    from asr_parallel.compare.matrix import Matrix
    from asr_parallel.record.files import resolve_links
    from asr_parallel.record.lock import locked

    matrix, network = Matrix.read(args.matrix), PRESETS[args.network]
    if args.jobs < 1 or (args.evaluate_frames is not None and args.evaluate_frames < 1):
        raise ValueError(f"--jobs {args.jobs}, --evaluate-frames {args.evaluate_frames}: expected numbers above 0")
    words = {verb: shlex.split(getattr(args, f"{verb}_options")) for verb in ("train", "decode", "score")}
    experiment = Experiment(args.exp, **words)
    experiment.check(matrix)
    with locked(args.out):
        resolve_links(args.out).mkdir(parents=True, exist_ok=True)
        _compare(args, matrix, network, experiment)


def _compare(args: argparse.Namespace, matrix: "Matrix", network: "Interconnect", experiment: "Experiment") -> None:
    from asr_parallel.compare.collect import collect
    from asr_parallel.compare.jobs import job_of
    from asr_parallel.compare.modelled import MEASURED, measured_machine
    from asr_parallel.compare.run_jobs import run_jobs
    from asr_parallel.features.frames import FrameStore
    from asr_parallel.report.write_report import write_report

    store = FrameStore.open(experiment.frames)
    machine = measured_machine(args.out / MEASURED, store, matrix.trainings, network)
    evaluate_frames = args.evaluate_frames or max(1, machine.frames // EVALUATIONS)
    jobs = {one.name: job_of(one, matrix, experiment, args.out, evaluate_frames) for one in matrix.trainings}
    if args.dry_run:
        _list(matrix, machine, experiment, args.jobs)
        return
    # Long ones first, so that no core is idle at the end
    longest_first = sorted(matrix.trainings, key=machine.here, reverse=True)
    failed = run_jobs([jobs[one.name] for one in longest_first], max(1, args.jobs // matrix.processes))
    comparison = collect(matrix, jobs, experiment, args.out, machine, ["asr-parallel", *args.words])
    page = write_report(comparison, args.out)
    print((args.out / "RESULTS.md").read_text(encoding="utf-8"))
    print(f"The report is {page}")
    if failed:
        logs = args.out / "logs"
        raise ValueError(f"{len(failed)} of {len(jobs)} trainings failed: {', '.join(failed)}; see {logs}")


def _list(matrix: "Matrix", machine: "Machine", experiment: "Experiment", jobs: int) -> None:
    """List the trainings, and how long each would take in one process of this machine."""
    seconds, system = experiment.decoding() or (0.0, "")
    total = 0.0
    print("| training | workers | frames | predicted hours of training | of decoding |\n|---|--:|--:|--:|--:|")
    for training in matrix.trainings:
        options = training.training_options
        hours, decoding = machine.here(training) / 3600, (1 + options.keeps_workers) * seconds / 3600
        total += hours + decoding
        shown = f"{decoding:.3f}" if system else "unknown"
        frames = machine.frames * options.schedule.epochs
        print(f"| {training.name} | {training.workers} | {frames:,} | {hours:.3f} | {shown} |")
    print(
        f"\n{len(matrix.trainings)} trainings, {total:.2f} hours of one core; {total / jobs:.2f} with {jobs} at a time"
    )
    print(
        f"Decoding as of {experiment.folder / system}, with its options."
        if system
        else "Decoding is left out: no system was decoded."
    )
