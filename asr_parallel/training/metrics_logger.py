"""Metrics of a running training: a progress bar or log lines, train.jsonl, and TensorBoard's files."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor
from tqdm import tqdm

from asr_parallel.parallel.state import State
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.record.event_file import EventFile
from asr_parallel.record.json_lines import JsonLines
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import SECONDS_BETWEEN_LINES
from asr_parallel.record.timer import NoTimer, Timer
from asr_parallel.training.hooks import EpochEnd, Hook, TrainingStep
from asr_parallel.training.train_lines import EVENTS, HELD_OUT, LINES, ROUND, TRAIN

LIMITED = 0.995  # the share of a step left by its limits is logged when below this
SUMS = ("loss_sum", "correct", "scale_sum", "applied")  # since the last report; scale: max_change_scale


class MetricsLogger(Hook):
    """Records the metrics of a training, or of one that goes on after start_frames frames.

    train.jsonl gets a line of kind "train" whenever the frames pass a multiple of report_frames (means since the last
    line, measured while the weights moved) and before every line of kind "held-out". Lines have
        kind, frames (over all workers, since the training began), epoch (frames / frames_per_epoch),
        loss (nats a frame) and accuracy (share of frames whose best pdf is the label); null where not finite,
        learning_rate (of the last minibatch; null before the first), skipped (steps so far that were not applied),
    those of kind "train" also max_change_scale (length of a step over the one without limits, mean over all workers'
    steps that were applied; null when there were none), and frames_per_second and data_wait_share (part of the time
    spent waiting for data), the only values by which two runs of the same training differ; those of held-out data also
    accepted.

    A training that goes on drops lines of more than start_frames frames. With the state that was taken at start_frames,
    its file is the one of a training that never stopped.

    train_loss: nats a frame, of the last report; in every process.
    """

    collective_state = True

    def __init__(
        self,
        folder: Path,
        *,
        total_frames: int | None,
        report_frames: int,
        frames_per_epoch: int,
        start_frames: int = 0,
        state: Mapping[str, Any] | None = None,
        transport: Transport | None = None,
        timer: Timer | NoTimer | None = None,
    ) -> None:
        """Open no files yet; that is done on entering the context.

        Args:
            folder: where train.jsonl and tensorboard/ are written.
            total_frames: all that will be trained on, over all workers; None when that is not known.
            report_frames: frames between two reports.
            frames_per_epoch: over all workers.
            start_frames: frames trained on before.
            state: the values of state_dict() after start_frames frames; empty or None: none is known.
            transport: of the run's processes: each adds up its own steps, rank 0 writes the sums over all.
            timer: of the phases of a round, if they are measured.

        Raises:
            ValueError: numbers out of range, or a state taken at other frames.
        """
        if report_frames < 1 or frames_per_epoch < 1:
            raise ValueError(f"report_frames {report_frames}, frames_per_epoch {frames_per_epoch}: expected at least 1")
        if state and state["frames"] != start_frames:
            raise ValueError(f"state of the metrics after {state['frames']} frames: expected after {start_frames}")
        self._folder, self._total_frames, self._start_frames = folder, total_frames, start_frames
        self._report_frames, self._frames_per_epoch = report_frames, frames_per_epoch
        self._transport = transport or SingleProcess()
        self._is_main = self._transport.rank == 0
        state = state or {}
        self._frames = start_frames
        self._unreported = int(state.get("unreported", 0))
        self._sums = {name: _RunningSum(state.get(name, 0.0) if self._is_main else 0.0) for name in SUMS}
        self._learning_rate: float | None = state.get("learning_rate")
        self._skipped: Tensor | int = int(state.get("skipped", 0)) if self._is_main else 0
        self._waited = self._waited_before = 0.0  # seconds: now, and at the last report
        self._timed = 0  # frames of this process since the last report
        self._bar: tqdm[Any] | None = None
        self.train_loss: float | None = state.get("train_loss")
        self._timer = timer

    def __enter__(self) -> Self:
        start = self._start_frames
        before = start if start else -1  # a training from the beginning keeps no line
        if self._is_main:
            with _named_errors(self._folder):
                self._lines = JsonLines(self._folder / LINES, lambda line: line["frames"] <= before)
                self._events = EventFile(self._folder / EVENTS, before + 1)
            self._last_kinds = {line["kind"] for line in self._lines.kept if line["frames"] == start}
        if self._is_main and sys.stderr.isatty():
            self._bar = tqdm(desc="training", total=self._total_frames, initial=start, unit=" frames", unit_scale=True)
        self._last_logged = time.monotonic()
        self._restart_clock(self._last_logged)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._report(self._last_minibatch)
        finally:
            if self._bar is not None:
                self._bar.close()
            if self._is_main:
                with _named_errors(self._folder):
                    self._events.close()

    def minibatch(
        self,
        frames: int,
        loss_sum: Tensor | float,
        correct: Tensor | float,
        learning_rate: float,
        max_change_scale: Tensor | None = None,
    ) -> None:
        """Count one step; values on a GPU are not waited for before the next report.

        Args:
            frames: of this minibatch, over all workers.
            loss_sum: summed over this process's, nats; a tensor without dimensions or a number.
            correct: how many of this process's have the label as best pdf.
            learning_rate: the step's, per frame.
            max_change_scale: (R,) of this process's workers, see Optimizer; NaN does not count.
        """
        reports = self._frames // self._report_frames
        self._frames += frames
        self._unreported += frames
        self._timed += frames
        self._sums["loss_sum"].add(loss_sum)
        self._sums["correct"].add(correct)
        if max_change_scale is not None:
            self._sums["scale_sum"].add(max_change_scale.nansum())
            self._sums["applied"].add((~max_change_scale.isnan()).sum())
        self._learning_rate = learning_rate
        if self._bar is not None:
            self._bar.update(frames)
        if self._frames // self._report_frames > reports:
            self._report()
        else:
            self._last_minibatch = time.monotonic()

    def data_wait(self, seconds_total: float) -> None:
        """Take the seconds that the training has waited for data so far."""
        self._waited = seconds_total

    def skipped(self, count: Tensor | int) -> None:
        """Take the number of steps so far that were not applied because the change was not finite.

        A tensor is summed when a report is due, and may count on until then.
        """
        self._skipped = count

    def held_out(
        self, frames: int, loss: float, accuracy: float, accepted: bool = True, more: Mapping[str, Any] | None = None
    ) -> None:
        """Record an evaluation on held-out data after `frames` frames of training; more: JSON values beside."""
        assert frames == self._frames, (frames, self._frames)
        self._report(self._last_minibatch)
        (skipped,) = self._transport.all_reduce_scalars([self._skipped_now()])
        if not self._is_main:
            return
        self._write(HELD_OUT, loss, accuracy, int(skipped), {"accepted": accepted}, more or {})
        with tqdm.external_write_mode(file=sys.stderr):  # takes the bar, if any, away and puts it back below
            logger.info(
                "epoch %.4g: held-out loss %.4f, accuracy %.2f %%%s",
                self._epoch, loss, 100 * accuracy, "" if accepted else " (rejected)",
            )  # fmt: skip
        self._restart_clock(time.monotonic())  # an evaluation is no training

    def due(self, step: TrainingStep) -> bool:
        return step.crosses(self._report_frames)

    def on_batch(self, step: TrainingStep) -> None:
        assert step.loss_sums is not None and step.correct is not None
        self.data_wait(step.waited_seconds)
        loss_sum, correct = step.loss_sums.sum(), step.correct.sum()
        self.minibatch(step.frames - step.before, loss_sum, correct, step.learning_rate, step.max_change_scale)
        if step.synced and isinstance(self._timer, Timer):
            seconds = self._timer.lap()
            if self._is_main:
                with _named_errors(self._folder):
                    line = {"kind": ROUND, "frames": self._frames, "epoch": self._epoch, "seconds": seconds}
                    self._lines.append(line)

    def on_epoch_end(self, end: EpochEnd) -> None:
        self.held_out(end.frames, end.loss, end.accuracy, end.accepted, end.per_worker)
        end.train_loss = self.train_loss

    def state_dict(self) -> State:
        """Return sums that are not yet written, for the `state` of a MetricsLogger that goes on from here."""
        *sums, skipped = self._totals()
        values = {
            "frames": self._frames,
            "unreported": self._unreported,
            **dict(zip(SUMS, sums, strict=True)),
            "learning_rate": self._learning_rate,
            "skipped": int(skipped),
            "train_loss": _finite(self.train_loss),
        }
        return State(values=values)

    def _totals(self) -> list[float]:
        """Return sums since the last report and steps skipped so far, over all processes."""
        return self._transport.all_reduce_scalars([*map(float, self._sums.values()), self._skipped_now()])

    @property
    def _epoch(self) -> float:
        return self._frames / self._frames_per_epoch

    def _skipped_now(self) -> int:
        return int(self._skipped.sum()) if isinstance(self._skipped, Tensor) else self._skipped

    def _report(self, ended: float | None = None) -> None:
        """Write the means since the last report, if there was a step since; up to now or `ended` (monotonic)."""
        if not self._unreported:
            return
        loss_sum, correct, scale_sum, applied, skipped = self._totals()
        loss, accuracy = loss_sum / self._unreported, correct / self._unreported
        self.train_loss = loss
        scale = scale_sum / applied if applied else math.nan
        ended = time.monotonic() if ended is None else ended  # not before the GPU is done
        seconds = max(ended - self._began, 1e-9)
        speed = self._timed / seconds
        wait_share = min(1.0, max(0.0, self._waited - self._waited_before) / seconds)
        if self._is_main:
            more = {"max_change_scale": scale, "frames_per_second": speed, "data_wait_share": wait_share}
            self._write(TRAIN, loss, accuracy, int(skipped), more)
            self._show(loss, accuracy, int(skipped), speed, wait_share, scale)
        self._unreported = 0
        self._sums = {name: _RunningSum() for name in SUMS}
        self._restart_clock(ended)

    def _restart_clock(self, now: float) -> None:
        self._began = self._last_minibatch = now
        self._waited_before = self._waited
        self._timed = 0

    def _write(
        self, kind: str, loss: float, accuracy: float, skipped: int, more: Mapping[str, float],
        beside: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if self._frames == self._start_frames and kind in self._last_kinds:
            return  # written by the run that this one goes on from, after its checkpoint
        rate = self._learning_rate
        numbers = {"loss": loss, "accuracy": accuracy, "learning_rate": rate, "skipped": skipped}
        finite = {name: _finite(value) for name, value in {**numbers, **more}.items()}
        with _named_errors(self._folder):
            self._lines.append({"kind": kind, "frames": self._frames, "epoch": self._epoch, **finite, **(beside or {})})
            tags = {f"{kind}/{name}": float(value) for name, value in finite.items() if value is not None}
            self._events.add(self._frames, tags)

    def _show(self, loss: float, accuracy: float, count: int, speed: float, wait_share: float, scale: float) -> None:
        text = f"loss {loss:.4f}, accuracy {100 * accuracy:.2f} %, learning rate {self._learning_rate:.3g}"
        if scale < LIMITED:
            text += f" (limits keep {100 * scale:.2g} % of a step)"
        waiting = f"waiting for data {100 * wait_share:.0f} %"
        skipped = f", {count} steps skipped" if count else ""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{text}, {waiting}{skipped}")
        elif now - self._last_logged >= SECONDS_BETWEEN_LINES:
            total = self._total_frames
            share = f" of {total} ({100 * self._frames / total:.0f} %)" if total else ""
            logger.info(
                "training: %d%s frames, %s, %.0f frames/s, %s%s", self._frames, share, text, speed, waiting, skipped
            )
            self._last_logged = now


class _RunningSum:
    """A float64 sum on the device of its terms; turning it into a number waits for the device."""

    def __init__(self, start: float = 0.0) -> None:
        self._value: Tensor | float = start

    def add(self, term: Tensor | float) -> None:
        if isinstance(term, Tensor):
            term = term.detach() if isinstance(self._value, Tensor) else term.detach().double()
        self._value = self._value + term

    def __float__(self) -> float:
        return float(self._value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Name the folder in an OSError (a full disk)."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot record the training: {error.strerror}", str(folder)) from error
