"""Training of a network on a frame store."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.parallel.algorithm import BaseAlgorithm, TrainingHook
from asr_parallel.parallel.registry import entry, synchronous
from asr_parallel.parallel.scheduler import Scheduler
from asr_parallel.parallel.state import State, Stateful
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.interrupt import StopRequest
from asr_parallel.record.log import logger
from asr_parallel.record.timer import OTHER
from asr_parallel.training.augmentation import Augmentation
from asr_parallel.training.divergence import DivergenceCheck, check_replicas_equal
from asr_parallel.training.evaluation import Evaluator, PeriodicEvaluation
from asr_parallel.training.final_model import ENSEMBLE, Exporter, LastModels, snapshot_frames
from asr_parallel.training.hooks import AlgorithmHook, BestModel, EpochEnd, Hook, TrainingStep
from asr_parallel.training.init_model import Teacher, init_model
from asr_parallel.training.late_workers import take_over_estimates
from asr_parallel.training.loop import Loop, WorkerTensors
from asr_parallel.training.metrics_logger import MetricsLogger
from asr_parallel.training.minibatches import Minibatches, merge_workers
from asr_parallel.training.optimizer_state import OptimizerState
from asr_parallel.training.option_groups import COMBINE_EPOCHS
from asr_parallel.training.recovery import Recovery
from asr_parallel.training.shares import group_minibatches
from asr_parallel.training.train_options import TrainingOptions

CHECKPOINT_FRAMES = 1_000_000
REPORT_FRAMES = 50_000


class Trainer(Loop):
    """A training, from its first minibatch or from a checkpoint to the final network.

    The same store, options and number of threads give the same network, bit for bit, also when the training was killed
    and resumed: everything random follows from the seed and from where in the data the training is.
    """

    evaluator_class = Evaluator

    def __init__(
        self,
        store: FrameStore,
        options: TrainingOptions,
        work: Path,
        stack: Path | None = None,
        group: WorkerGroup | None = None,
    ) -> None:
        """Set up; nothing is trained yet.

        Args:
            store, options: all that the network depends on.
            work: folder for checkpoints, models and logs.
            stack: folder of stage 5 whose RBMs the hidden layers start from, if options.network.pretrain says so.
            group: the options' workers and their processes, which all make and run a trainer alike.

        Raises:
            ValueError: options out of range, or too little data.
        """
        self.store, self.options = store, options
        soft, optimization, data, workers = options.soft_labels, options.optimization, options.data, options.workers
        group = group or WorkerGroup(workers.workers)
        cls = entry(workers.algorithm).cls
        device = choose_device(options.machine.device)
        dtype = choose_dtype(options.machine.precision, device)
        train_part, held_out_part = store.split(data.held_out, data.held_out_by, data.train_share)
        held_out_rows = store.rows_of(held_out_part)
        modelled = group.local_workers[:1] if cls.shared_replica else self.modelled_workers(group)
        self.network = init_model(options, store, modelled, stack, device, dtype)
        self.teacher = None
        if soft.teacher is not None:
            self.teacher = Teacher(Path(soft.teacher), store, soft.pseudo_weight, soft.temperature, device, dtype)
        sites = None if workers.sites is None else Path(workers.sites)
        augmentation = Augmentation(data.channel_tilt, data.channel_ripple, data.mask_filters)
        batches = group_minibatches(
            store, train_part, group, workers.resolved_share_by, sites, data.seed, data.seed, optimization.minibatch,
            augmentation, dtype, device, workers.ramp, options.schedule.epochs,
        )  # fmt: skip
        self.compression: TrainingHook | None = None
        self.algorithm, scheduler = self.start_algorithm(group, batches, train_part)
        super().__init__(group, scheduler, batches, work)
        self.evaluator = self.evaluator_class(
            store, held_out_rows, self.network, scheduler, options.final_model.ensemble_average, options.keeps_workers,
            options.workers.ema > 0,
        )  # fmt: skip
        untrained, _ = self.evaluator.score()
        self.untrained_loss = untrained.loss
        frames_per_epoch = batches.frames_per_epoch
        lr_scale = options.worker_lr_scale(group.num_workers)
        self.schedule = options.make_schedule(frames_per_epoch, lr_scale, untrained.loss)
        if self.algorithm.round_epochs is not None:
            self.schedule.new_round(0, self.algorithm.round_epochs * frames_per_epoch)
        self.exporter = Exporter(self.network, store, options, train_part, held_out_rows)
        self._make_hooks()
        logger.info(
            "%d frames an epoch, %d held out (%d utterances); %s on %s; loss %.4f before training",
            frames_per_epoch, len(held_out_rows), len(held_out_part),
            "bf16 products" if dtype == torch.bfloat16 else "float32", device.type, untrained.loss,
        )  # fmt: skip
        if group.num_workers > 1:
            first_share = batches.rate_share(self.algorithm, 0, 0)
            logger.info(
                "%d workers in %d process(es), algorithm %s, period %s minibatches, rates %s times the effective",
                group.num_workers, group.transport.size, options.workers.algorithm, self.algorithm.period,
                " to ".join(dict.fromkeys(f"{lr_scale * share:g}" for share in (first_share, 1))),
            )  # fmt: skip

    def modelled_workers(self, group: WorkerGroup) -> Sequence[int]:
        """Return the workers that this process has models of, where they do not share one."""
        return group.local_workers

    def start_algorithm(
        self, group: WorkerGroup, batches: Minibatches, train_part: np.ndarray
    ) -> tuple[BaseAlgorithm, Scheduler]:
        """Make the optimiser and return the algorithm and the exchanges, from the network before training."""
        options, optimization, workers = self.options, self.options.optimization, self.options.workers
        algorithm = synchronous(workers.algorithm)(options.algorithm)
        self.optimizer = optimizer(
            optimization.optimizer, self.network, optimization.limits(), optimization.momentum, algorithm.sum_gradients
        )
        scheduler = SyncScheduler(
            algorithm, group, self.network, workers, self.optimizer,
            workers.optimizer_state_at_sync(optimization.optimizer),
            minibatches_per_epoch=batches.minibatches_per_epoch, epochs=options.schedule.epochs,
            rate_frames=options.rate_frames,
        )  # fmt: skip

        def all_frames() -> Minibatches:  # of one worker more, who has them all
            return Minibatches(
                self.store, [self.store.rows_of(train_part)], [group.num_workers], optimization.minibatch,
                options.data.seed, batches.augmentation, self.network.dtype, self.network.device, loader=batches.loader,
            )  # fmt: skip

        if scheduler.synchronizes:
            soft = options.soft_labels
            self.compression = algorithm.training_hook(
                network=self.network, batches=batches, all_frames=all_frames,
                outputs=Outputs(options.final_model.ensemble_average, soft.temperature), weight=soft.pseudo_weight,
            )  # fmt: skip
        return algorithm, scheduler

    def optimizer_part(self) -> Stateful:
        """Return the state of the optimiser, as a part of the loop's."""
        return OptimizerState(self.optimizer)

    @property
    def skipped(self) -> Tensor:
        """Steps of each replica so far that were not applied; it counts on."""
        return self.optimizer.skipped

    def _make_hooks(self) -> None:
        """Make the hooks that need no files, and list the parts of the state."""
        options, network, total = self.options, self.network, self.schedule.total_frames
        self.parts = {
            "network": WorkerTensors("network", {"parameters": network.parameters}, network.parameters_changed),
            "scheduler": self.scheduler,
            "optimizer": self.optimizer_part(),
            "schedule": self.schedule,
        }
        self.recovery: Recovery | None = None
        if options.workers.fault_tolerant:
            assert isinstance(self.scheduler, SyncScheduler)
            self.recovery = Recovery(self.scheduler, lambda: self.state_dict(collective=False))
            self.add_hook(self.recovery)
        if self.compression is not None:
            self.add_hook(AlgorithmHook(self.compression), "compression")
        self.divergence = DivergenceCheck(
            network, self.scheduler, self.schedule, self.evaluator, self.untrained_loss, options.optimization.minibatch,
            options.network.start is not None,
        )  # fmt: skip
        moments: list[int] = []
        if total and options.combined:
            epochs = options.final_model.combine_epochs or COMBINE_EPOCHS
            moments = snapshot_frames(total, self.batches.frames_per_epoch, options.combined, epochs)
        self.last_models = LastModels(
            self.work / "models", moments, lambda: self.scheduler.model(network), self.group.is_main
        )
        self.best: BestModel | None = None
        if options.schedule.schedule == "newbob":  # a worse epoch is taken back
            self.parts["best"] = self.best = BestModel(network)
        self.loaded = State()

    def run(
        self,
        report_frames: int = REPORT_FRAMES,
        checkpoint_frames: int = CHECKPOINT_FRAMES,
        evaluate_frames: int | None = None,
    ) -> Network | None:
        """Train to the end of the schedule and return the final network, in rank 0; None in other processes.

        Args:
            report_frames, checkpoint_frames: between two lines of train.jsonl, between two checkpoints.
            evaluate_frames: between two evaluations on held-out data, beside those at the ends of epochs.

        Raises:
            ValueError: the training diverged; the last checkpoint stays.
            Interrupted: by a signal, which any of the processes got; after a checkpoint, if all of them are there.
        """
        with (
            StopRequest() as request,
            MetricsLogger(
                self.work,
                total_frames=self.schedule.total_frames,
                report_frames=report_frames,
                frames_per_epoch=self.batches.frames_per_epoch,
                start_frames=self.frames,
                state=self.loaded.part("metrics").values,
                transport=self.group.transport,
                timer=self.timer,
            ) as metrics,
        ):
            metrics.skipped(self.skipped if self.group.is_main or not self.algorithm.shared_replica else 0)
            evaluation = PeriodicEvaluation(self.evaluator, metrics, evaluate_frames, self.timer)
            self.parts["metrics"] = metrics
            more: list[Hook] = [metrics, self.divergence, self.last_models, evaluation]
            self.hooks += more if self.best is None else [*more, self.best]
            self.train(request, self.network.device, checkpoint_frames)
        if self.compression is not None:
            self.compression.close()
        best = self._export_workers() if self.options.keeps_workers else None
        last, self.sync_stats = self.scheduler.finish(self.network), self.scheduler.stats(self.timer)
        if best is not None and self.algorithm.ensemble:
            last = best
        if not self.group.is_main:
            return None
        return self.exporter.export_model(last, self.last_models.newest_first)

    @property
    def finished(self) -> bool:
        return self.schedule.finished

    def minibatches(self) -> Iterable[Any]:
        """Return what is left of the epoch, with soft targets where workers learn from each other."""
        if self.compression is not None:
            return self.compression.stream(self.epoch, self.minibatch)
        return ((*pair, None) for pair in self.batches.epoch(self.epoch, self.minibatch))

    def train_on(self, minibatch: Any, step: TrainingStep) -> None:
        spliced, labels, soft = minibatch
        active = self.batches.active(self.minibatch, self.epoch)
        rate_share = self.batches.rate_share(self.algorithm, self.epoch, self.minibatch)
        step.learning_rate = self.schedule.learning_rate(self.frames) * rate_share
        step.waited_seconds = self.batches.waited_seconds
        if self.algorithm.shared_replica:
            spliced, labels, active = *merge_workers(spliced, labels, active), None
        else:
            take_over_estimates(self.optimizer, self.group, self.batches.beginning(self.epoch, self.minibatch))
        if self.teacher is not None:
            soft = self.teacher.soft(spliced)
        back = self.network.backward(spliced, labels, soft)
        losses = back.loss_sum
        step.loss_sums = losses if active is None else losses.masked_fill(~active, 0.0)
        step.correct = back.correct
        self.optimizer.step(back, step.learning_rate, active, step.frames - step.before)
        step.max_change_scale = self.optimizer.max_change_scale
        self.synchronize(self.network, step, losses)
        if step.synced and self.algorithm.round_epochs is not None:
            self.schedule.new_round(step.frames, self.algorithm.round_epochs * self.batches.frames_per_epoch)

    def end_epoch(self) -> None:
        with self.timer.during(OTHER):
            score, per_worker = self.evaluator.score()
        rate = self.schedule.learning_rate(0)  # what it began with, or newbob's of this epoch
        accepted = self.schedule.end_epoch(self.frames, score.loss)
        self.epoch, self.minibatch = self.epoch + 1, 0
        end = EpochEnd(
            frames=self.frames, loss=score.loss, accuracy=score.accuracy, per_worker=per_worker, accepted=accepted,
            finished=self.schedule.finished, learning_rate=rate,
        )  # fmt: skip
        for hook in self.hooks:
            hook.on_epoch_end(end)
        if self.best is not None or score.loss <= self.divergence.highest_loss:
            self.save()

    def may_save(self, step: TrainingStep) -> bool:
        assert step.loss_sums is not None
        own = step.worker_frames[list(self.group.local_workers)].tolist()
        frames = [sum(own)] if self.algorithm.shared_replica else own
        return self.divergence.is_sane(step.loss_sums, frames, self.frames)

    def save(self) -> None:
        if self.algorithm.shared_replica:
            check_replicas_equal(self.group.transport, self.network.parameters)
        super().save()

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.loaded = state

    def _export_workers(self) -> Tensor:
        """Write the workers' models, without averaging what they learnt since they synced; return the best, (P,)."""
        self.optimizer.leave_lookahead()
        best = self.exporter.export_workers(self.work / ENSEMBLE, self.evaluator.of_workers(), self.group)
        self.optimizer.enter_lookahead()
        return best
