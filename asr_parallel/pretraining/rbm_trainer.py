"""Greedy pretraining of a stack of RBMs on a frame store, a layer at a time.

The data of layer k are the mean activations of the finished layers below, computed minibatch by minibatch.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.parallel.registry import synchronous
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.pretraining.check_features import check_finite, check_normalised
from asr_parallel.pretraining.rbm_metrics import RbmMetrics, Stack
from asr_parallel.pretraining.rbm_options import PretrainOptions, momentum_step
from asr_parallel.record.interrupt import StopRequest
from asr_parallel.training.hooks import TrainingStep
from asr_parallel.training.loop import Loop, WorkerTensors
from asr_parallel.training.minibatches import Purpose, counted_seed
from asr_parallel.training.shares import group_minibatches

MEASURED_FRAMES = 10_000  # of training and held-out data each, for free energies and means


class LayerTrainer(Loop):
    """Trains one layer on top of a stack, from its first minibatch or from a checkpoint.

    Store, options and stack decide the result, bit for bit (on CPUs, with as many threads), also when it was resumed.
    With several workers the parameters are synchronized as the algorithm says; each worker keeps its own momentum.
    """

    def __init__(
        self,
        store: FrameStore,
        options: PretrainOptions,
        stack: Stack,
        work: Path,
        transport: Transport | None = None,
    ) -> None:
        """Set up; nothing is trained yet.

        Args:
            work: folder for checkpoints and the log.
            transport: of the processes that share the workers; all of them make and run a trainer alike.

        Raises:
            ValueError: too little data, or features (of the first layer) that are not normalised.
        """
        self.options, self.stack = options, stack
        group = WorkerGroup(options.workers, transport or SingleProcess())
        self.layer = len(stack.rbms)
        self.device = choose_device(options.device)
        dtype = choose_dtype(options.precision, self.device)
        train_part, held_out_part = store.split(options.held_out, options.held_out_by)
        rows, held_out = store.rows_of(train_part), store.rows_of(held_out_part)
        if self.layer == 0:
            check_finite(store, rows)
            check_normalised(store, _some(rows))
        measured = _some(rows)[: len(held_out)]
        batches = group_minibatches(
            store, train_part, group, options.share_by, None, options.seed, _layer_seed(options.seed, self.layer),
            options.minibatch, None, dtype, self.device,
        )  # fmt: skip
        visible_dim = stack.rbms[-1].spec.hidden_dim if stack.rbms else store.spliced_dim
        spec = RbmSpec(visible_dim, options.hidden_dim, gaussian=not stack.rbms)
        self.rbm = StackedRbm(spec, len(group.local_workers), self.device, dtype)
        self.metrics = RbmMetrics(store, measured, _some(held_out), stack, self.rbm, group, options)
        mean = None if spec.gaussian else self.metrics.mean(stack, measured)
        self.rbm.initialise(_layer_seed(options.seed, self.layer, Purpose.RBM_INITIAL), mean)
        workers, constants = options.worker_options()
        # No loss is compared
        scheduler = SyncScheduler(synchronous(workers.algorithm)(constants), group, self.rbm, workers, exact=True)
        super().__init__(group, scheduler, batches, work)
        self.epochs = options.epochs * (2 if spec.gaussian else 1)
        rbm = self.rbm
        tensors = {"parameters": rbm.parameters, "velocity": rbm.velocity, "lr_scale": rbm.lr_scale}
        self.parts = {
            f"layer {self.layer}": WorkerTensors("RBM", tensors, rbm.parameters_changed),
            "scheduler": scheduler,
            "metrics": self.metrics,
        }
        self.hooks = [self.metrics]

    def run(self, report_frames: int, checkpoint_frames: int) -> StackedRbm:
        """Train to the end and return the RBM that all workers stand for, as a single replica.

        Raises:
            ValueError: the layer has diverged or collapsed; the last checkpoint stays.
            Interrupted: by a signal, which any of the processes got; after a checkpoint, if all of them are there.
        """
        last = self.epochs * self.batches.minibatches_per_epoch
        self.metrics.open(self.work, self.frames, report_frames, last, self.global_model)
        with StopRequest() as request:
            self.train(request, self.device, checkpoint_frames)
        self.metrics.finish(self.number)
        return self._single(self.scheduler.finish(self.rbm))

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def minibatches(self) -> Iterable[tuple[Tensor, Tensor]]:
        return self.batches.epoch(self.epoch, self.minibatch)

    def train_on(self, minibatch: tuple[Tensor, Tensor], step: TrainingStep) -> None:
        spliced, _ = minibatch
        options, rbm, before = self.options, self.rbm, step.before
        rate = options.rate_gaussian if rbm.spec.gaussian else options.rate_bernoulli
        step.learning_rate = rate * (1 - options.scheduled_momentum(before))
        phases = rbm.contrast(self.stack.forward(spliced), self._seeds())
        active = self.batches.active(self.minibatch, self.epoch)
        change = rbm.update(phases, step.learning_rate, options.momentum(before), options.l2, active)
        self.metrics.add(change.error_sum.double().sum(), change.struck.sum())
        self.synchronize(rbm, step)
        if before == 0 or momentum_step(step.frames) > momentum_step(before):
            rbm.restore_rate()

    def end_epoch(self) -> None:
        self.epoch, self.minibatch = self.epoch + 1, 0

    def may_save(self, step: TrainingStep) -> bool:
        self.global_model()
        return True

    def global_model(self) -> StackedRbm:
        """Return the RBM that all workers stand for; DivergedError when a parameter of it is not finite."""
        rbm = self._single(self.scheduler.model(self.rbm))
        if not bool(rbm.parameters.isfinite().all()):
            raise DivergedError(
                f"layer {self.layer + 1} diverged: a parameter is not finite after {self.frames} frames"
            )
        return rbm

    def _seeds(self) -> list[int]:
        """Return the seeds of this minibatch's samples."""
        counters = (self.layer, self.epoch, self.minibatch)
        seed, workers = self.options.seed, self.group.local_workers
        each = (counted_seed(seed, Purpose.RBM_SAMPLES, worker, *counters) for worker in workers)
        return [int(seed.generate_state(1, np.uint64)[0]) for seed in each]

    def _single(self, parameters: Tensor) -> StackedRbm:
        """Return (P,) parameters as an RBM of one replica."""
        one = StackedRbm(self.rbm.spec, 1, self.device, self.rbm.dtype)
        one.parameters[0].copy_(parameters)
        one.parameters_changed()
        return one


def _layer_seed(seed: int, layer: int, purpose: Purpose = Purpose.RBM_SAMPLES) -> int:
    return int(counted_seed(seed, purpose, layer).generate_state(1, np.uint32)[0])


def _some(rows: np.ndarray) -> np.ndarray:
    """Return up to MEASURED_FRAMES rows, spread evenly."""
    return rows[:: max(1, -(-len(rows) // MEASURED_FRAMES))]
