"""Checks before anything runs, for errors that would otherwise come up in training, decoding or scoring."""

import argparse
import contextlib
import io
from collections.abc import Iterable, Set
from functools import cache
from pathlib import Path

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.precision import choose_device
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.algorithm import Algorithm, Context
from asr_parallel.parallel.asynchronous.algorithm import AsyncAlgorithm
from asr_parallel.parallel.registry import entry
from asr_parallel.parallel.synchronizer import synchronizer
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.files import read_lines
from asr_parallel.record.options import find, flat
from asr_parallel.record.program import build_parser, check_options
from asr_parallel.training.train_options import TrainingOptions, read_options

# Options of verbs that the comparison sets itself
TRAIN_FIXED = {"frames", "out", "rbm", "evaluate_frames", "processes", "threads"}
DECODE_FIXED = {"graph", "model", "feats", "out", "jobs"}
SCORE_FIXED = {"lang", "data_dev", "data_eval", "decode_dev", "decode_eval"}
SMALLEST = dnn(frame_dim=1, context=0, hidden_layers=1, hidden_dim=1, num_pdfs=1)
LONG_EPOCH = 1 << 40  # frames and minibatches: more than any limit that depends on the data
LONG_CONTEXT = 1000  # frames, likewise

_parser = cache(build_parser)


def check_words(*words: str) -> argparse.Namespace:
    """Parse a verb's command line; ValueError where the verb would refuse it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return _parser(words[0]).parse_args(words)
    except SystemExit as error:
        raise ValueError(printed.getvalue().partition("error: ")[2].strip() or "expected no --help") from error


def check_verb(*words: str) -> None:
    """Raise ValueError for options that a verb refuses on its command line or when it starts."""
    args = check_words(*words)
    if words[0] == "train-dnn":
        check_training(read_options(vars(args)))
    else:
        check_options(words[0], vars(args))


def check_not_fixed(words: Iterable[str], fixed: Set[str]) -> None:
    """Raise ValueError when a command line has options that the comparison sets itself."""
    for word in words:
        if option(word) in fixed:
            raise ValueError(f"{word}: the comparison says this itself; expected to be left out")


def option(word: str) -> str:
    """Return the name of an option on a command line, with underscores; "" where the word is not an option."""
    name = word.partition("=")[0].removeprefix("--").removeprefix("no-")
    return name.replace("-", "_") if word.startswith("--") else ""


def check_training(options: TrainingOptions) -> None:
    """Raise ValueError for options that a trainer refuses with any data, and for missing files."""
    options.network_spec(SMALLEST.frame_dim, LONG_CONTEXT, SMALLEST.num_pdfs)
    workers = options.workers
    network = StackedNetwork(SMALLEST, workers.workers)
    optimizer(options.optimization.optimizer, network, options.optimization.limits(), options.optimization.momentum)
    algorithm = entry(workers.algorithm).cls(options.algorithm)
    if isinstance(algorithm, AsyncAlgorithm):
        algorithm.start(workers.workers)
    elif isinstance(algorithm, Algorithm):
        group = WorkerGroup(workers.workers)
        algorithm.start(network.parameters[0], Context(group, LONG_EPOCH, options.schedule.epochs, workers.overlap))
        synchronizer(algorithm, group, network, workers)
    scale = workers.worker_lr_scale or algorithm.worker_lr_scale(workers.workers)
    options.make_schedule(LONG_EPOCH, scale, untrained_loss=1.0)
    choose_device(options.machine.device)
    if options.network.pretrain == "rbm" and options.architecture.nonlinearity != "sigmoid":
        raise ValueError(
            f"nonlinearity {options.architecture.nonlinearity}: RBMs begin a network of sigmoids; expected sigmoid"
        )
    for name, path in {"teacher": options.soft_labels.teacher, "start": options.network.start}.items():
        if path is not None and not Path(path).is_dir():
            raise ValueError(f"{name} {path}: is not there")
    if options.workers.sites is not None:
        _check_sites(Path(options.workers.sites), options.workers.workers)


def _check_sites(path: Path, workers: int) -> None:
    names = {words[1] for line in read_lines(path) if len(words := line.split()) == 2}
    if len(names) != workers:
        raise ValueError(f"{path}: {len(names)} sites for {workers} workers; expected as many")


def check_alike(options: TrainingOptions, alone: TrainingOptions) -> None:
    """Raise ValueError when the single worker to compare with has another model or other data."""
    values, others = flat(options), flat(alone)
    for name, facts in find(options).items():
        own, its = values[name], others.get(name)
        if (facts.task or name in flat(options.architecture)) and own != its:
            many = options.workers.workers
            wanted = f"a cell with a label and workers [1, {many}]" if many > 1 else "a baseline cell of its label too"
            raise ValueError(
                f"{name} {own}, and {its} of the single worker it is compared with; expected {wanted}, so that it has a"
                " single worker of its own"
            )
