"""A training of a comparison as a job: trained, decoded and scored by the verbs of stages 6 and 7."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr_parallel.compare.checks import (
    DECODE_FIXED,
    SCORE_FIXED,
    TRAIN_FIXED,
    check_not_fixed,
    check_verb,
    check_words,
    option,
)
from asr_parallel.compare.matrix import Matrix
from asr_parallel.compare.matrix_training import GRID, Training
from asr_parallel.compare.run_jobs import Job
from asr_parallel.corpus.set_names import DEV_EVAL, evaluation_sets, parse_sets
from asr_parallel.parallel.worker_options import option_names
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Plain
from asr_parallel.training.train_options import config_identity, read_options

MATRIX_OPTIONS = {  # of train-dnn, beside those of workers and algorithms
   
    *GRID, "minibatch", "epochs", "hidden_layers", "hidden_dim", "nonlinearity", "pnorm_group", "precision",
    "device", "held_out", "held_out_by", "train_share", "keep_workers", "pretrain",
}  # fmt: skip
ENSEMBLE = "_ensemble"  # suffix of the folder in which the mean output of a training's workers is decoded


@dataclass(frozen=True)
class Experiment:
    """The experiment folder of a recipe, and further options of train-dnn, decode and score.

    sets: those that are decoded -> the set that chooses the weights (corpus/set_names.py).
    """

    folder: Path
    train: Sequence[str] = ()
    decode: Sequence[str] = ()
    score: Sequence[str] = ()
    sets: Mapping[str, str] = field(default_factory=lambda: parse_sets(DEV_EVAL))

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    @property
    def synthetic(self) -> bool:
        """True when the speech is synthetic."""
        return (self.folder / "corpus" / "synthetic.json").is_file()

    def decoding(self) -> tuple[float, str] | None:
        """Return core seconds of decoding all sets by the best system of stage 7, and its name; None: none."""
        for system in ("dnn", "tri", "mono"):
            made = [self.folder / system / f"decode_{name}" / "decode.json" for name in self.sets]
            if all(path.is_file() for path in made):
                return sum(float(read_json(path)["cpu_seconds"]) for path in made), system
        return None

    def check(self, matrix: Matrix) -> None:
        """Check all jobs before any of them is run.

        Raises:
            ValueError: a further option is refused by its verb, is set by the comparison, or belongs into the matrix,
                from which the clock and the tables read it; or a folder that trainings or decoding need is missing.
        """
        for verb, fixed in {"train": TRAIN_FIXED, "decode": DECODE_FIXED, "score": SCORE_FIXED}.items():
            try:
                check_not_fixed(getattr(self, verb), fixed)
            except ValueError as error:
                raise ValueError(f"--{verb}-options {error}") from error
        for word in self.train:
            if option(word) in MATRIX_OPTIONS | option_names():
                raise ValueError(f"--train-options {word}: expected among the options of the matrix")
        for training in matrix.trainings:
            for words in job_of(training, matrix, self, self.folder, evaluate_frames=1).verbs:
                try:
                    check_verb(*words)
                except ValueError as error:
                    raise ValueError(f"{training.name}: {words[0]}: {error}") from error
        trials = [one for of in matrix.trials().values() for _, one in of]
        needed = [self.frames, self.folder / "tri" / "graph", self.folder / "lang"]
        needed += [self.folder / kind / name for kind in ("feats/fbank", "data") for name in self.sets]
        needed += [path for one in [*matrix.trainings, *trials] if (path := self.rbm(one, matrix)) is not None]
        for path in needed:
            if not path.is_dir():
                raise ValueError(
                    f"{path}: is not there; expected an experiment whose stages 0 to 4 and 7 are done, and 5 for RBMs"
                )

    def rbm(self, training: Training, matrix: Matrix) -> Path | None:
        """Return the folder of the RBMs that a training starts from, None if it starts from none."""
        if training.training_options.network.pretrain != "rbm":
            return None
        return self.folder / matrix.rbm.replace("{seed}", str(training.seed))

    def decode_verbs(self, model: Path, into: Path, matrix: Matrix, device: str = "auto") -> list[tuple[str, ...]]:
        """Return the verbs that decode and score all sets with a model, which was trained on a device."""
        exp, verbs = self.folder, list[tuple[str, ...]]()
        on = () if device == "auto" else ("--device", device)
        for name in self.sets:
            verbs.append(
                (
                    "decode", "--graph", str(exp / "tri" / "graph"), "--model", str(model), "--feats",
                    str(exp / "feats" / "fbank" / name), "--out", str(into / f"decode_{name}"), "--jobs",
                    str(matrix.processes), *on, *matrix.decode, *self.decode,
                )
            )  # fmt: skip
        for tuning, tested in evaluation_sets(self.sets).items():
            scored: list[str] = []
            for kind, name in (("dev", tuning), *(("eval", name) for name in tested)):
                scored += [f"--data-{kind}", str(exp / "data" / name), f"--decode-{kind}", str(into / f"decode_{name}")]
            verbs.append(("score", "--lang", str(exp / "lang"), *scored, *self.score))
        return verbs


def training_job(training: Training, matrix: Matrix, experiment: Experiment, out: Path, evaluate_frames: int) -> Job:
    """Return the job that trains, with a thread for each process of the training."""
    stack = experiment.rbm(training, matrix)
    rbm = [] if stack is None else ["--rbm", str(stack)]
    train = (
        "train-dnn", "--frames", str(experiment.frames), "--out", str(out / training.name), *experiment.train,
        *training.words(), *rbm,
        "--evaluate-frames", str(evaluate_frames), "--processes", str(min(matrix.processes, training.workers)),
        "--threads", "1",
    )  # fmt: skip
    log, failed = (out / "logs" / f"{training.name}.{kind}" for kind in ("log", "json"))
    return Job(training.name, (train,), log, failed, out / training.name)


def job_of(training: Training, matrix: Matrix, experiment: Experiment, out: Path, evaluate_frames: int) -> Job:
    """Return the job that trains, decodes and scores."""
    job = training_job(training, matrix, experiment, out, evaluate_frames)
    folder, options = out / training.name, training.training_options
    verbs = [*job.verbs, *experiment.decode_verbs(folder, folder, matrix, options.machine.device)]
    if options.keeps_workers:
        into = out / (training.name + ENSEMBLE)
        verbs += experiment.decode_verbs(folder / "ensemble", into, matrix, options.machine.device)
    return replace(job, verbs=tuple(verbs))


def options_of(jobs: Mapping[str, Job]) -> tuple[dict[str, Plain], dict[str, dict[str, Plain]]]:
    """Return options of train-dnn, defaults included: those that all trainings share, and the rest by training."""
    found: dict[str, dict[str, Plain]] = {}
    for name, job in jobs.items():
        args = check_words(*job.verbs[0])
        options = read_options(vars(args))
        own = config_identity(options) | {"learning_rate": options.resolved_learning_rate}
        found[name] = {option: value for option, value in own.items() if option not in GRID and value is not None}
    first = next(iter(found.values()))
    common = {option: v for option, v in first.items() if all(own.get(option) == v for own in found.values())}
    return common, {name: {o: v for o, v in own.items() if o not in common} for name, own in found.items()}
