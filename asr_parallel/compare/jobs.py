"""A training of a comparison as a job: trained, decoded and scored by the verbs of stages 6 and 7."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.compare.checks import (
    SAID_OF_DECODING,
    SAID_OF_SCORING,
    SAID_OF_TRAINING,
    check_left_out,
    check_verb,
    check_words,
    option,
    training_options_of,
)
from asr_parallel.compare.matrix import OWN, Matrix, Training
from asr_parallel.compare.run_jobs import Job
from asr_parallel.parallel.worker_options import option_names
from asr_parallel.record.files import read_json
from asr_parallel.report.comparison import Plain
from asr_parallel.training.options import config_identity

SAID_BY_MATRIX = {
    *OWN, "minibatch", "epochs", "hidden_layers", "hidden_dim", "nonlinearity", "pnorm_group", "precision",
    "device", "held_out", "held_out_by", "keep_workers", "pretrain",
}  # fmt: skip
TOGETHER = "_ensemble"  # after the name of a training: its workers' mean output, recognized for itself


@dataclass(frozen=True)
class Experiment:
    """The folder of a recipe whose stages are done, and more options of single verbs."""

    folder: Path
    train: Sequence[str] = ()
    decode: Sequence[str] = ()
    score: Sequence[str] = ()

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    @property
    def synthetic(self) -> bool:
        """True when the speech is synthetic."""
        return (self.folder / "corpus" / "synthetic.json").is_file()

    def decoding(self) -> tuple[float, str] | None:
        """Return core seconds of decoding both sets by the best system of stage 7, and its name; None: none."""
        for system in ("dnn", "tri", "mono"):
            made = [self.folder / system / f"decode_{of}" / "decode.json" for of in ("dev", "eval")]
            if all(path.is_file() for path in made):
                return sum(float(read_json(path)["cpu_seconds"]) for path in made), system
        return None

    def check(self, matrix: Matrix) -> None:
        """Check all jobs before any of them is run.

        Raises:
            ValueError: further options are refused by their verb, or say what the comparison does itself or what the
                matrix has to, because the clock and the table have it from there; or a folder that trainings or
                decoding need is not there.
        """
        said = {"train": SAID_OF_TRAINING, "decode": SAID_OF_DECODING, "score": SAID_OF_SCORING}
        for verb, of_verb in said.items():
            try:
                check_left_out(getattr(self, verb), of_verb)
            except ValueError as error:
                raise ValueError(f"--{verb}-options {error}") from error
        for word in self.train:
            if option(word) in SAID_BY_MATRIX | option_names():
                raise ValueError(f"--train-options {word}: expected among the options of the matrix")
        for training in matrix.trainings:
            for words in job_of(training, matrix, self, self.folder, evaluate_frames=1).verbs:
                try:
                    check_verb(*words)
                except ValueError as error:
                    raise ValueError(f"{training.name}: {words[0]}: {error}") from error
        needed = [self.frames, self.folder / "tri" / "graph", self.folder / "lang"]
        needed += [self.folder / kind / of for kind in ("feats/fbank", "data") for of in ("dev", "eval")]
        needed += [path for one in matrix.trainings if (path := self.rbm(one, matrix)) is not None]
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

    def recognize(self, model: Path, into: Path, matrix: Matrix) -> list[tuple[str, ...]]:
        """Return verbs that decode and score the development and evaluation set with a model."""
        exp, verbs = self.folder, list[tuple[str, ...]]()
        for of in ("dev", "eval"):
            verbs.append(
                (
                    "decode", "--graph", str(exp / "tri" / "graph"), "--model", str(model), "--feats",
                    str(exp / "feats" / "fbank" / of), "--out", str(into / f"decode_{of}"), "--jobs",
                    str(matrix.processes), *matrix.decode, *self.decode,
                )
            )  # fmt: skip
        data = [(f"--{what}-{of}", path) for of in ("dev", "eval") for what, path in (
            ("data", exp / "data" / of), ("decode", into / f"decode_{of}"))]  # fmt: skip
        named = [word for flag, path in data for word in (flag, str(path))]
        return [*verbs, ("score", "--lang", str(exp / "lang"), *named, *self.score)]


def job_of(training: Training, matrix: Matrix, experiment: Experiment, out: Path, evaluate_frames: int) -> Job:
    """Return all verbs of one training, with a thread for each of its processes."""
    folder = out / training.name
    stack = experiment.rbm(training, matrix)
    rbm = [] if stack is None else ["--rbm", str(stack)]
    train = (
        "train-dnn", "--frames", str(experiment.frames), "--out", str(folder), *experiment.train, *training.words(),
        *rbm,
        "--evaluate-frames", str(evaluate_frames), "--processes", str(min(matrix.processes, training.workers)),
        "--threads", "1",
    )  # fmt: skip
    verbs = [train, *experiment.recognize(folder, folder, matrix)]
    if training.training_options.keeps_workers:
        together = out / (training.name + TOGETHER)
        verbs += experiment.recognize(folder / "ensemble", together, matrix)
    return Job(
        training.name, tuple(verbs), out / "logs" / f"{training.name}.log", out / "logs" / f"{training.name}.json"
    )


def options_of(jobs: Mapping[str, Job]) -> tuple[dict[str, Plain], dict[str, dict[str, Plain]]]:
    """Return options of train-dnn, defaults included: those that all trainings share, and the rest by training."""
    found: dict[str, dict[str, Plain]] = {}
    for name, job in jobs.items():
        args = check_words(*job.verbs[0])
        options = training_options_of(args)
        own = config_identity(options) | {"learning_rate": options.resolved_learning_rate}
        found[name] = {option: value for option, value in own.items() if option not in OWN and value is not None}
    first = next(iter(found.values()))
    common = {option: v for option, v in first.items() if all(own.get(option) == v for own in found.values())}
    return common, {name: {o: v for o, v in own.items() if o not in common} for name, own in found.items()}
