"""asr-parallel compare: stage 8, algorithms and numbers of workers side by side."""

import argparse
import shlex
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.cli.shared_options import JobOptions
from asr_parallel.clock.interconnect import PRESETS
from asr_parallel.corpus.set_names import DEV_EVAL, parse_sets
from asr_parallel.record.options import Checked, build, option
from asr_parallel.report.comparison import MARGIN

if TYPE_CHECKING:
    from asr_parallel.compare.jobs import Experiment
    from asr_parallel.compare.matrix import Matrix
    from asr_parallel.compare.modelled import Machine
    from asr_parallel.compare.run_jobs import Executor
    from asr_parallel.features.frames import FrameStore

EVALUATIONS = 4  # an epoch, unless said


@dataclass(frozen=True)
class CompareOptions(Checked):
    """Comparison."""

    sets: str = option(
        DEV_EVAL, "sets to decode, SET:TUNING_SET where not the first one chooses the scoring weights", metavar="NAMES"
    )
    network: str = option("10gbe", "of the modelled clock (docs/clock.md)", choices=tuple(PRESETS))
    network_file: str | None = option(
        None, "network that measure-network has measured, in place of a known one", metavar="FILE", path=True
    )
    other_network: str = option(
        "1gbe", "a worse one, on which the speedup to the target is shown too", choices=tuple(PRESETS)
    )
    evaluate_frames: int | None = option(
        None, "between evaluations on held-out data", least=1, unset="a quarter of an epoch"
    )
    margin: float = option(
        MARGIN, "difference in WER that does not matter, per cent of the single worker's", above=0, source="ours"
    )
    train_options: str = option("", "more options of all trainings", metavar="WORDS")
    decode_options: str = option("", "more options of all decodings", metavar="WORDS")
    score_options: str = option("", "more options of all scorings", metavar="WORDS")
    executor: str = option(
        "local", "where trainings run; slurm: as batch jobs, --jobs of them at a time", choices=("local", "slurm")
    )
    sbatch_options: str = option("", "of Slurm's sbatch, for every training", metavar="WORDS")
    dry_run: bool = option(False, "only list the trainings, with predicted hours")
    record_band: str | None = option(
        None, "file for the frames that the single worker needed to the target, by seed", metavar="FILE"
    )
    check: str | None = option(
        None, "only train the single worker, and tell whether it needs as many frames as in a file of --record-band",
        metavar="FILE", path=True,
    )  # fmt: skip
    report_only: bool = option(False, "train nothing, report what is there; also beside a comparison that runs")

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range or two that do not go together."""
        super().__post_init__()
        parse_sets(self.sets)
        only = [name for name in ("dry_run", "check", "report_only") if getattr(self, name)]
        if len(only) > 1:
            raise ValueError(f"{' and '.join(only)} do not go together; expected one of them")
        if self.report_only and self.executor == "slurm":
            raise ValueError("executor slurm: report_only trains nothing; expected one of them")


def option_groups() -> tuple[type, ...]:
    """Return the groups of options of the verb."""
    return CompareOptions, JobOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files of the verb."""
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder whose stages 0 to 4 are done")
    parser.add_argument("--matrix", type=Path, required=True, help="YAML file of what is compared (docs/compare.md)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the comparison, which may be half done")


def run(args: argparse.Namespace) -> None:
    """Train, decode and compare."""
    from asr_parallel.compare.jobs import Experiment
    from asr_parallel.compare.matrix import Matrix
    from asr_parallel.record.files import resolve_links
    from asr_parallel.record.lock import locked

    options, matrix = build(CompareOptions, vars(args)), Matrix.read(args.matrix)
    words = {verb: shlex.split(getattr(options, f"{verb}_options")) for verb in ("train", "decode", "score")}
    experiment = Experiment(args.exp, **words, sets=parse_sets(options.sets))
    experiment.check(matrix)
    if options.record_band is not None and matrix.target is None:
        raise ValueError(f"record_band: {args.matrix} has no target; expected budgets and a target in it")
    with nullcontext() if options.report_only else locked(args.out):
        resolve_links(args.out).mkdir(parents=True, exist_ok=True)
        _compare(args, options, matrix, experiment)


def _compare(args: argparse.Namespace, options: CompareOptions, matrix: "Matrix", experiment: "Experiment") -> None:
    from asr_parallel.clock.measure_network import read_network
    from asr_parallel.compare.band import Band, band_of, check_band
    from asr_parallel.compare.collect import collect
    from asr_parallel.compare.jobs import job_of
    from asr_parallel.compare.modelled import MEASURED, measured_machine
    from asr_parallel.compare.trials import tune
    from asr_parallel.compare.watch import Expected, JobWatch
    from asr_parallel.features.frames import FrameStore
    from asr_parallel.report.write_report import write_report

    jobs_at_a_time = build(JobOptions, vars(args)).count
    store, tuning = FrameStore.open(experiment.frames), None
    executor = _executor(options, matrix, store, jobs_at_a_time)
    if options.check is not None:
        assert executor is not None  # --report-only is refused beside it
        inside, said = check_band(Band.read(Path(options.check)), matrix, experiment, args.out, store, executor)
        if not inside:
            raise ValueError(said)
        print(said)
        return
    if not options.dry_run:
        matrix, tuning = tune(matrix, experiment, args.out, store, executor)
    network = PRESETS[options.network]
    if options.network_file is not None:
        network = read_network(Path(options.network_file))
    machine = measured_machine(args.out / MEASURED, store, matrix.trainings, network, keep=not options.report_only)
    if options.other_network != network.name:
        machine = replace(machine, other_network=PRESETS[options.other_network])
    evaluate_frames = options.evaluate_frames or max(1, machine.frames // EVALUATIONS)
    jobs = {one.name: job_of(one, matrix, experiment, args.out, evaluate_frames) for one in matrix.trainings}
    if options.dry_run:
        _list(matrix, machine, experiment, jobs_at_a_time)
        return
    # Long ones first, so that no core is idle at the end
    longest_first = sorted(matrix.trainings, key=machine.here, reverse=True)
    in_order = [jobs[one.name] for one in longest_first]
    decoding = (experiment.decoding() or (0.0,))[0]
    expected = {
        one.name: Expected(machine.frames * one.training_options.schedule.epochs, machine.here(one) + decoding)
        for one in longest_first
    }
    failed = []
    if executor is not None:
        failed = executor.run(in_order, JobWatch("comparison", in_order, expected, executor.at_once))
    command = ["asr-parallel", *args.words]
    comparison = collect(matrix, jobs, experiment, args.out, machine, command, options.margin)
    comparison = replace(comparison, tuning=tuning)
    page = write_report(comparison, args.out)
    print((args.out / "RESULTS.md").read_text(encoding="utf-8"))
    print(f"The report is {page}")
    if failed:
        logs = args.out / "logs"
        raise ValueError(f"{len(failed)} of {len(jobs)} trainings failed: {', '.join(failed)}; see {logs}")
    if options.record_band is not None:
        band_of(comparison, matrix).write(Path(options.record_band))


def _executor(options: CompareOptions, matrix: "Matrix", store: "FrameStore", jobs_at_a_time: int) -> "Executor | None":
    """Return where the trainings run; None: nowhere."""
    from asr_parallel.compare.memory import that_fit
    from asr_parallel.compare.run_jobs import LocalExecutor
    from asr_parallel.compare.slurm_jobs import SlurmExecutor

    if options.report_only:
        return None
    if options.executor == "slurm":
        return SlurmExecutor(jobs_at_a_time, tuple(shlex.split(options.sbatch_options)))
    shape = store.dim, store.context, store.num_pdfs
    at_once = max(1, jobs_at_a_time // matrix.processes)
    return LocalExecutor(that_fit(matrix.trainings, shape, matrix.processes, at_once))


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
    if trials := sum(map(len, matrix.trials().values())):
        print(f"\n{trials} trials before them, which are not in the sums.")
    print(
        f"\n{len(matrix.trainings)} trainings, {total:.2f} hours of one core; {total / jobs:.2f} with {jobs} at a time"
    )
    print(
        f"Decoding as of {experiment.folder / system}, with its options."
        if system
        else "Decoding is left out: no system was decoded."
    )
