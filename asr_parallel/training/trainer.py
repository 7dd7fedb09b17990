"""The loop that trains a network on a frame store."""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.optimizers import optimizer
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.nnet.stacked import Soft
from asr_parallel.parallel.algorithms import algorithm
from asr_parallel.parallel.ensemble import Ensemble
from asr_parallel.parallel.gradient import Gradient
from asr_parallel.parallel.sync_info import DivergedError
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.transport import LostError
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.interrupt import Interrupted, StopRequest
from asr_parallel.record.log import logger
from asr_parallel.training.augmentation import Augmentation
from asr_parallel.training.checkpoint import CHECKPOINTS, Checkpoint, Checkpoints
from asr_parallel.training.combine import snapshot_frames, write_model
from asr_parallel.training.compression import EXCHANGE, OTHER, Compression, compression
from asr_parallel.training.divergence import DIVERGED, check_epoch, first_bad, highest_loss, is_sane
from asr_parallel.training.evaluator import Evaluator
from asr_parallel.training.export_model import export_model
from asr_parallel.training.init_model import begin
from asr_parallel.training.members import ENSEMBLE, keep_members
from asr_parallel.training.metrics_logger import MetricsLogger
from asr_parallel.training.minibatches import merged
from asr_parallel.training.options import TrainingOptions
from asr_parallel.training.recovery import Snapshot, mark
from asr_parallel.training.shares import group_minibatches
from asr_parallel.training.stop import StopPoints
from asr_parallel.training.sync_stats import sync_stats
from asr_parallel.training.teacher import Teacher
from asr_parallel.training.training_state import restore, save

CHECKPOINT_FRAMES = 1_000_000
REPORT_FRAMES = 50_000


class Trainer:
    """One training, from its first minibatch or from a checkpoint to the final network.

    The same store, options and number of threads give the same network, bit for bit, also when the training was killed
    and resumed: everything random follows from the seed and from where in the data the training is.
    """

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
            store, options: what decides the network.
            work: folder for checkpoints, snapshots and logs.
            stack: folder of stage 5 whose RBMs the hidden layers begin as, if options.pretrain says so.
            group: the options' workers and who they are dealt to; all processes make and run a trainer alike.

        Raises:
            ValueError: options out of range, or too little data.
        """
        self.store, self.options, self.work = store, options, work
        self.group = group = group or WorkerGroup(options.workers)
        self.algorithm = algorithm(options, options.epochs)
        device = choose_device(options.device)
        dtype = choose_dtype(options.precision, device)
        self.train_part, held_out_part = store.split(options.held_out, options.held_out_by)
        self.held_out_rows = store.rows_of(held_out_part)
        workers = group.local_workers[:1] if self.algorithm.shared_replica else group.local_workers
        self.network = begin(options, store, workers, stack, device, dtype)
        self.teacher = None
        if options.teacher is not None:
            self.teacher = Teacher(
                Path(options.teacher), store, options.pseudo_weight, options.temperature, device, dtype
            )
        sites = None if options.sites is None else Path(options.sites)
        add = self.algorithm.add if isinstance(self.algorithm, Gradient) else None
        self.optimizer = optimizer(options.optimizer, self.network, options.limits(), options.momentum, add)
        variation = Augmentation(options.channel_tilt, options.channel_ripple, options.mask_filters)
        self.batches = group_minibatches(
            store, self.train_part, group, options.shares, sites, options.seed, options.seed, options.minibatch,
            variation, dtype, device,
        )  # fmt: skip
        self.algorithm.start(self.network, group, self.batches.minibatches_per_epoch)
        self.rounds = SyncScheduler(
            self.algorithm, group, self.network, options.drop_worse, self.optimizer,
            options.optimizer_state_at_sync(options.optimizer), options.ema,
        )  # fmt: skip
        self.compression: Compression | None = None
        if isinstance(self.algorithm, Ensemble) and self.rounds.meet:
            self.compression = compression(
                self.algorithm, self.network, group, self.batches, options, store, self.train_part, variation
            )
        self.evaluator = Evaluator(store, self.held_out_rows, self.network, self.rounds, options)
        untrained, _ = self.evaluator.score()
        self.untrained_loss = untrained.loss
        frames_per_epoch = self.batches.frames_per_epoch
        factor = options.worker_lr_scale or self.algorithm.worker_lr_scale(group.num_workers)
        self.schedule = options.make_schedule(frames_per_epoch, factor, untrained.loss)
        if self.algorithm.round_epochs is not None:
            self.schedule.new_round(0, self.algorithm.round_epochs * frames_per_epoch)
        # The best model so far, where a worse epoch may be taken back.
        self.best = self.network.parameters.clone() if options.schedule == "newbob" else None
        self.epoch, self.minibatch, self.frames = 0, 0, 0
        self.marks: deque[Snapshot] = deque(maxlen=2)  # others are at most one meeting behind
        self.watched: dict[str, Any] | None = None  # not yet written when the checkpoint was
        self.checkpoints = Checkpoints(work / CHECKPOINTS, transport=group.transport)
        total = self.schedule.total_frames
        self.snapshots = (
            snapshot_frames(total, frames_per_epoch, options.combined) if total and options.combined else []
        )
        logger.info(
            "%d frames an epoch, %d held out (%d utterances); %s on %s; loss %.4f before training",
            frames_per_epoch, len(self.held_out_rows), len(held_out_part),
            "bf16 products" if dtype == torch.bfloat16 else "float32", device.type, untrained.loss,
        )  # fmt: skip
        if group.num_workers > 1:
            logger.info(
                "%d workers in %d process(es), algorithm %s, period %s minibatches, rates %g times the effective",
                group.num_workers, group.transport.size, options.algorithm, self.algorithm.period, factor,
            )  # fmt: skip

    @property
    def done(self) -> int:
        """Minibatches of a worker so far."""
        return self.epoch * self.batches.minibatches_per_epoch + self.minibatch

    def _aside(self, phase: str = OTHER) -> AbstractContextManager[None]:
        """Of what is not training, when a round's time is told apart."""
        return nullcontext() if self.compression is None else self.compression.phases.during(phase)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of a training with the same store and options; ValueError when it is of another."""
        restore(self, checkpoint)

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
                state=self.watched,
                transport=self.group.transport,
            ) as watch,
        ):
            watch.skipped(self.optimizer.skipped if self.group.is_main or not self.algorithm.shared_replica else 0)
            self._points = StopPoints(request, self.group.transport, self.rounds, self.network.device)
            try:
                if not self.frames:  # a lower learning rate may begin here, too
                    save(self, watch)
                while not self.schedule.finished:
                    self._epoch(watch, report_frames, checkpoint_frames, evaluate_frames)
                    self._end_epoch(watch)
            except LostError as error:
                if request.number:  # which has reached the others too
                    raise Interrupted(request.number) from error
                raise
        if self.compression is not None:
            self.compression.close()
        best = self._keep_members() if self.options.keeps_workers else None
        last, self.meetings = self.rounds.finish(self.network), sync_stats(self.rounds, self.compression)
        if best is not None and self.algorithm.ensemble:
            last = best
        if not self.group.is_main:
            return None
        newest_first = [self._snapshot(frames) for frames in reversed(self.snapshots)]
        return export_model(
            last, self.network, newest_first, self.store, self.options, self.train_part, self.held_out_rows
        )

    def _epoch(
        self, watch: MetricsLogger, report_frames: int, checkpoint_frames: int, evaluate_frames: int | None
    ) -> None:
        """What is left of the current epoch."""
        # Frames before the first loss that is not finite; below 0: all were
        bad = torch.full((), -1, dtype=torch.int64, device=self.network.device)
        for spliced, labels, soft in self._stream():
            rate, active = self.schedule.learning_rate(self.frames), self.batches.active(self.minibatch)
            trained = self.batches.frames(self.minibatch, self.minibatch + 1)
            before, count = self.frames, int(trained.sum())
            if self.algorithm.shared_replica:
                spliced, labels, active = *merged(spliced, labels, active), None
            if self.teacher is not None:
                soft = self.teacher.soft(spliced)
            minibatch = self.network.backward(spliced, labels, soft)
            losses = minibatch.loss_sum
            counting = losses if active is None else losses.masked_fill(~active, 0.0)
            loss_sum = counting.sum()
            wrong = ~loss_sum.isfinite() if self.algorithm.period is not None else ~counting.isfinite().any()
            bad = torch.where((bad < 0) & wrong, self.frames, bad)
            self.optimizer.step(minibatch, rate, active, count)
            with self._aside(EXCHANGE) if self.rounds.sync_due else nullcontext():
                met = self.rounds.trained(self.network, trained, losses, rate)
            self.frames += count
            self.minibatch += 1
            if met and self.algorithm.round_epochs is not None:
                self.schedule.new_round(self.frames, self.algorithm.round_epochs * self.batches.frames_per_epoch)
            if met and self.options.fault_tolerant:
                self.marks.append(mark(self))
            if self.compression is not None:
                self._compress(met)
            watch.data_wait(self.batches.waited_seconds)
            watch.minibatch(count, loss_sum, minibatch.correct.sum(), rate, self.optimizer.max_change_scale)
            if self.compression is not None and met:
                watch.round(self.compression.phases.lap())
            report, snapshots, checkpoint = (
                self._crossed(before, moments)
                for moments in (self._last(report_frames), self.snapshots, self._last(checkpoint_frames))
            )
            evaluation = self._crossed(before, self._last(evaluate_frames)) if evaluate_frames else []
            if self._points.due(self.done, met):
                checkpoint = [self.frames]
            if report or snapshots or checkpoint or evaluation:
                self._stop_if_diverged(bad)
            for moment in snapshots:
                model = self.rounds.model(self.network)
                if self.group.is_main:
                    write_model(self._snapshot(moment), model)
            if evaluation and self.minibatch < self.batches.minibatches_per_epoch:  # else the epoch's end has its own
                with self._aside():
                    score, of_each = self.evaluator.score()
                watch.held_out(self.frames, score.loss, score.accuracy, more=of_each)
            if checkpoint:
                frames_of_each = (
                    [spliced.shape[1]]
                    if self.algorithm.shared_replica
                    else trained[list(self.group.local_workers)].tolist()
                )
                if is_sane(self, counting, frames_of_each):
                    with self._aside():
                        save(self, watch)
            self._points.stop()
        self._stop_if_diverged(bad)

    def _stream(self) -> Iterator[tuple[Tensor, Tensor, Soft | None]]:
        """Minibatches of what is left of the epoch, with what workers learn from each other of them."""
        if self.compression is not None:
            return self.compression.stream(self.epoch, self.minibatch)
        return ((*pair, None) for pair in self.batches.epoch(self.epoch, self.minibatch))

    def _compress(self, met: bool) -> None:
        assert self.compression is not None
        if met:
            self.compression.met(self.done)
        else:
            self.compression.advance()

    def _keep_members(self) -> Tensor:
        """The best worker's model; what workers have become since they met last is not yet averaged."""
        self.optimizer.leave_lookahead()
        best = keep_members(
            self.work / ENSEMBLE, self.network, self.evaluator.of_workers(), self.group, self.store, self.options,
            self.train_part, self.held_out_rows,
        )  # fmt: skip
        self.optimizer.enter_lookahead()
        return best

    def _crossed(self, before: int, moments: list[int]) -> list[int]:
        """Those of the moments that lie in the minibatch that began after `before` frames."""
        return [frames for frames in moments if before < frames <= self.frames]

    def _last(self, period: int) -> list[int]:
        """The last multiple of a period of frames."""
        return [self.frames // period * period]

    def _snapshot(self, frames: int) -> Path:
        """Where the model is kept that first had been trained on so many frames."""
        return self.work / "models" / f"{frames:012d}.safetensors"

    def _stop_if_diverged(self, bad: Tensor) -> None:
        """ValueError when a minibatch's loss was not finite. Waits for the GPU, so it is called now and then.

        Workers that meet need not stop for one whose loss is not: it is left out and goes on from what others have.
        """
        if self.rounds.meet and self.group.num_workers > 1:
            return
        frames = first_bad(self.group.transport, int(bad), everywhere=self.algorithm.period is None)
        if frames is not None:
            step = frames // (self.options.minibatch * self.group.num_workers) + 1
            rate = self.schedule.learning_rate(frames)
            raise DivergedError(
                f"{DIVERGED}: the loss of minibatch {step} (after {frames} frames) is not finite, learning rate"
                f" {rate:.3g} per frame"
            )

    def _end_epoch(self, watch: MetricsLogger) -> None:
        with self._aside():
            score, of_each = self.evaluator.score()
        rate = self.schedule.learning_rate(0)  # what it began with, or newbob's of this epoch
        accepted = self.schedule.end_epoch(self.frames, score.loss)
        self.epoch, self.minibatch = self.epoch + 1, 0
        watch.held_out(self.frames, score.loss, score.accuracy, accepted, of_each)
        check_epoch(self, score, of_each, accepted, rate, watch.train_loss)
        if self.best is not None:
            if accepted:
                self.best.copy_(self.network.parameters)
            else:
                self.network.parameters.copy_(self.best)
                self.network.parameters_changed()
        if self.best is not None or score.loss <= highest_loss(self.untrained_loss, self.store.num_pdfs):
            with self._aside():
                save(self, watch)
