"""One training by torch's own means: K processes of gloo on this machine, our data, network and held-out loss.

    ddp        DistributedDataParallel: the mean of all gradients at every minibatch
    averager   DistributedDataParallel with the post-local SGD hook, and PeriodicModelAverager: gradients stay local,
               and the models are averaged after every `period` minibatches

What differs from `asr-parallel train-dnn` is what is between the workers, and the optimiser. The frame store, its split
into shares, the order of frames, the initial network, the schedule, the held-out frames and their loss are ours.
"""

import math
import multiprocessing
import tempfile
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from module import Optimizers, Rectifiers
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.nn.parallel import DistributedDataParallel

from asr_parallel.features.frames import FrameStore
from asr_parallel.record.files import write_json
from asr_parallel.training.evaluation import evaluate
from asr_parallel.training.final_model import Exporter
from asr_parallel.training.init_model import init_model
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.shares import frames_of, parts_of
from asr_parallel.training.train_options import TrainingOptions, training_options

RIVALS = {"ddp": "gradient", "averager": "average"}  # and our algorithm of the same rule
RESULT = "result.json"
TIMEOUT = timedelta(seconds=120)  # until a lost process is noticed


@dataclass(frozen=True, kw_only=True)
class Task:
    """A training.

    frames: frame store. rival: of RIVALS. optimizer: of module.OPTIMIZERS. options: of train-dnn, by name.
    gradient_first: minibatches, after which averager begins to keep gradients local.
    """

    frames: str
    rival: str
    optimizer: str
    workers: int
    seed: int
    learning_rate: float
    options: dict[str, Any]
    momentum: float = 0.0
    period: int = 16
    gradient_first: int = 0

    def __post_init__(self) -> None:
        if self.rival not in RIVALS:
            raise ValueError(f"rival {self.rival!r}; expected one of {', '.join(RIVALS)}")
        if self.period < 1 or self.gradient_first < 0:
            raise ValueError(f"period {self.period}, gradient_first {self.gradient_first}: expected from 1 and from 0")

    @property
    def training_options(self) -> TrainingOptions:
        """The options of the training of ours that it stands beside."""
        period = {"period": self.period} if self.rival == "averager" else {}
        return training_options(
            workers=self.workers, algorithm=RIVALS[self.rival], seed=self.seed, learning_rate=self.learning_rate,
            optimizer="sgd", precision="float32", device="cpu", combine=0, **period, **self.options,
        )  # fmt: skip


def train(task: Task, out: Path) -> None:
    """Train in K processes and leave the network and RESULT in a new folder, which appears when all is done.

    Raises:
        ValueError: options out of range.
    """
    options = task.training_options
    if options.resolved_schedule == "newbob":
        raise ValueError("rivals: schedule newbob takes epochs back; expected another")
    multiprocessing.set_forkserver_preload([__name__])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        made = Path(aside) / "made"
        made.mkdir()
        torch.multiprocessing.start_processes(
            _work, (task, aside, str(made)), nprocs=task.workers, start_method="forkserver"
        )
        made.rename(out)


def _work(rank: int, task: Task, aside: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{aside}/rendezvous", rank=rank, world_size=task.workers, timeout=TIMEOUT
    )
    try:
        Worker(rank, task).run(Path(out))
    finally:
        dist.destroy_process_group()


class Worker:
    """A process with one worker."""

    def __init__(self, rank: int, task: Task) -> None:
        self._rank, self._task = rank, task
        self._options = task.training_options
        data, workers = self._options.data, self._options.workers
        self._store = FrameStore.open(Path(task.frames))
        self._train_part, held_out_part = self._store.split(data.held_out, data.held_out_by)
        self._held_out = self._store.rows_of(held_out_part)
        cpu = torch.device("cpu")
        self._network = init_model(self._options, self._store, [rank], None, cpu, torch.float32)
        parts = parts_of(self._store, self._train_part, task.workers, workers.resolved_share_by, None, data.seed)
        self._batches = Minibatches(
            self._store, [self._store.rows_of(parts[rank])], [rank], self._options.optimization.minibatch, data.seed,
            None, torch.float32, cpu, frames=frames_of(self._store, parts),
        )  # fmt: skip
        self._module = Rectifiers(self._network)
        self._ddp = DistributedDataParallel(self._module)
        self._averager: PeriodicModelAverager | None = None
        if task.rival == "averager":
            state = PostLocalSGDState(None, None, task.gradient_first, post_local_gradient_allreduce=False)
            self._ddp.register_comm_hook(state, post_localSGD_hook)
            # It counts steps from 0: the first mean is formed after `period` local ones
            self._averager = PeriodicModelAverager(task.period, warmup_steps=task.gradient_first + task.period - 1)
        self._optimizers = Optimizers(task.optimizer, self._module, task.momentum)

    def run(self, out: Path) -> None:
        """Train to the end of the schedule; rank 0 writes the results."""
        untrained = evaluate(self._network, self._store, self._held_out).loss
        # A mean of gradients or models divides the sum over all frames by K, which the rate makes good;
        # Adam's and Muon's steps do not grow with the gradient
        scale = self._task.workers if self._task.optimizer == "sgd" else 1
        schedule = self._options.make_schedule(self._batches.frames_per_epoch, scale, untrained)
        frames, losses, training_losses = 0, [untrained], []
        for epoch in range(self._options.schedule.epochs):
            total, before = 0.0, frames
            for k, (spliced, labels) in enumerate(self._batches.epoch(epoch)):
                active = self._batches.active(k) is None
                total += self._step(spliced[0], labels[0], active, schedule.learning_rate(frames))
                frames += int(self._batches.frames(k, k + 1).sum())
            sums = torch.tensor([total], dtype=torch.float64)
            dist.all_reduce(sums)
            training_losses.append(sums.item() / (frames - before))
            losses.append(self._held_out_loss())
        if self._rank == 0:
            exporter = Exporter(self._network, self._store, self._options, self._train_part, self._held_out)
            exporter.export_model(self._network.parameters[0], []).save(out)
            result = {"frames": frames, "held_out_loss": _finite(losses), "training_loss": _finite(training_losses)}
            write_json(out / RESULT, {"task": asdict(self._task), **result})

    def _step(self, spliced: torch.Tensor, labels: torch.Tensor, active: bool, rate: float) -> float:
        """Train on a minibatch and return its loss, summed; an inactive worker, whose share has ended, adds nothing."""
        self._optimizers.zero_grad()
        logits = self._ddp(spliced if active else torch.zeros_like(spliced))
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (loss if active else 0 * loss).backward()
        self._optimizers.step(rate)
        if self._averager is not None:
            self._averager.average_parameters(self._module.parameters())
        return loss.item() if active else 0.0

    def _held_out_loss(self) -> float:
        """Return the loss of the mean of all models, which is left in the network; in rank 0, NaN in others."""
        self._module.copy_to(self._network)
        dist.all_reduce(self._network.parameters)
        self._network.parameters.div_(self._task.workers)
        self._network.parameters_changed()
        return evaluate(self._network, self._store, self._held_out).loss if self._rank == 0 else float("nan")


def _finite(losses: list[float]) -> list[float | None]:
    """Return losses as JSON has them: None for what is not finite."""
    return [loss if math.isfinite(loss) else None for loss in losses]
