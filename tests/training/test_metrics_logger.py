"""The record of a training: what is written when, and that one cut in two reads like one that never stopped."""

import errno
import io
import json
import logging
import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from torch.utils._python_dispatch import TorchDispatchMode

from asr_parallel.record.json_lines import read_json_lines
from asr_parallel.record.log import logger
from asr_parallel.training import metrics_logger as module
from asr_parallel.training.metrics_logger import MetricsLogger

MINIBATCH, EPOCH, REPORT, TOTAL = 10, 70, 30, 210
WALL_CLOCK = {"frames_per_second", "data_wait_share"}


def open_watch(folder: Path, **changes: Any) -> MetricsLogger:
    numbers = {"total_frames": TOTAL, "report_frames": REPORT, "frames_per_epoch": EPOCH}
    return MetricsLogger(folder, **(numbers | changes))


def train(watch: MetricsLogger, start: int, end: int) -> None:
    """Like a training on `start` to `end` frames: the same values whether or not it was cut in two."""
    for frames in range(start + MINIBATCH, end + 1, MINIBATCH):
        scale = torch.tensor(
            [1 / frames, torch.nan if frames % 20 else 0.5]
        )  # every other step of a worker is left out
        watch.minibatch(MINIBATCH, torch.tensor(100.0 / frames), torch.tensor(frames % 7), 0.1 / frames, scale)
        watch.data_wait(frames / 1e6)
        watch.skipped(frames // 100)
        if frames % EPOCH == 0:
            watch.held_out(frames, 50.0 / frames, frames / 1000, accepted=frames != 140)


def events(folder: Path) -> Iterator[tuple[str, Event]]:
    """All events of a folder, file after file, with the check sums of TensorFlow's record format verified."""
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            length, check = struct.unpack("<QI", data[:12])
            assert check == masked_crc32c(data[:8])
            content, data = data[12 : 12 + length], data[12 + length :]
            assert struct.unpack("<I", data[:4]) == (masked_crc32c(content),)
            data = data[4:]
            yield path.name, Event.FromString(content)


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """What TensorBoard shows: a session that starts at a step takes the place of that step and all later ones."""
    shown: dict[tuple[str, int], float] = {}
    for _, event in events(folder):
        if event.session_log.status == SessionLog.START:
            shown = {(tag, step): value for (tag, step), value in shown.items() if step < event.step}
        shown |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return shown


def without_clock(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in values]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with open_watch(folder) as watch:
        watch.held_out(0, 3.0, 0.01)
        train(watch, 0, TOTAL)
    return folder


def test_lines(whole: Path) -> None:
    lines = read_json_lines(whole / "train.jsonl")
    train_frames = [line["frames"] for line in lines if line["kind"] == "train"]
    assert train_frames == [30, 60, 70, 90, 120, 140, 150, 180, 210]  # multiples of 30, and ends of epochs
    assert [(line["frames"], line["epoch"], line["accepted"]) for line in lines if line["kind"] == "held-out"] == [
        (0, 0.0, True), (70, 1.0, True), (140, 2.0, False), (210, 3.0, True),
    ]  # fmt: skip
    assert lines[0] | {"kind": "", "frames": 0} == {
        "kind": "", "frames": 0, "epoch": 0.0, "loss": 3.0, "accuracy": 0.01, "learning_rate": None, "skipped": 0,
        "accepted": True,
    }  # fmt: skip
    line = next(line for line in lines if line["frames"] == 120)
    assert line["loss"] == pytest.approx((100 / 100 + 100 / 110 + 100 / 120) / 30)
    assert line["accuracy"] == pytest.approx((100 % 7 + 110 % 7 + 120 % 7) / 30)
    assert line["max_change_scale"] == pytest.approx((1 / 100 + 0.5 + 1 / 110 + 1 / 120 + 0.5) / 5)
    assert (line["learning_rate"], line["epoch"], line["skipped"]) == (0.1 / 120, 120 / 70, 1)
    assert line["frames_per_second"] > 0
    assert 0 <= line["data_wait_share"] <= 1


def test_event_file_holds_the_same(whole: Path) -> None:
    shown = scalars(whole)
    for line in read_json_lines(whole / "train.jsonl"):
        for name, value in line.items():
            if name not in ("kind", "frames", "epoch") and value is not None:
                assert shown.pop((f"{line['kind']}/{name}", line["frames"])) == pytest.approx(float(value))
    assert not shown


@pytest.mark.parametrize("saved", range(MINIBATCH, TOTAL, MINIBATCH))
def test_a_run_cut_in_two_reads_like_one(tmp_path: Path, whole: Path, saved: int) -> None:
    """Killed 40 frames (and half a line) after it was last saved."""
    first = open_watch(tmp_path)
    with first:
        first.held_out(0, 3.0, 0.01)
        train(first, 0, saved)
        state = json.loads(json.dumps(dict(first.state_dict().values), allow_nan=False))
        train(first, saved, min(saved + 40, TOTAL))
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"kind": "train", "fra')
    with open_watch(tmp_path, start_frames=saved, state=state) as second:
        train(second, saved, TOTAL)
    assert without_clock(read_json_lines(tmp_path / "train.jsonl")) == without_clock(
        read_json_lines(whole / "train.jsonl")
    )
    resumed, uncut = scalars(tmp_path), scalars(whole)
    assert resumed.keys() == uncut.keys()
    assert all(resumed[key] == uncut[key] for key in uncut if key[0].split("/")[1] not in WALL_CLOCK)


def test_an_evaluation_saved_before_it_was_recorded_is_recorded_once(tmp_path: Path) -> None:
    with open_watch(tmp_path) as first:
        train(first, 0, EPOCH - MINIBATCH)
        first.minibatch(MINIBATCH, 1.0, 1.0, 0.1)
        state = first.state_dict().values
        first.held_out(EPOCH, 0.5, 0.5)
    before = (tmp_path / "train.jsonl").read_text()
    with open_watch(tmp_path, start_frames=EPOCH, state=state) as second:
        second.held_out(EPOCH, 0.5, 0.5)
    assert (tmp_path / "train.jsonl").read_text() == before


def test_a_run_from_the_start_leaves_nothing_of_an_older_one(tmp_path: Path, whole: Path) -> None:
    for _ in range(2):
        with open_watch(tmp_path) as watch:
            watch.held_out(0, 3.0, 0.01)
            train(watch, 0, TOTAL)
    lines = read_json_lines(tmp_path / "train.jsonl")
    assert without_clock(lines) == without_clock(read_json_lines(whole / "train.jsonl"))
    assert scalars(tmp_path).keys() == scalars(whole).keys()


def test_steps_between_reports_do_not_wait_for_the_device(tmp_path: Path) -> None:
    waits: list[int] = []
    steps: list[int] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._local_scalar_dense.default:  # what item() and float() come to
                waits.append(len(steps))
            return func(*args, **(kwargs or {}))

    loss_sum, correct = torch.tensor(20.0, requires_grad=True) * 1, torch.tensor(3)
    with open_watch(tmp_path, report_frames=50 * MINIBATCH) as watch:
        for _ in range(101):
            steps.append(MINIBATCH)
            with Recorder():
                watch.minibatch(MINIBATCH, loss_sum, correct, 0.1, torch.tensor([0.5, torch.nan]))
    assert waits == [50] * 4 + [100] * 4


def test_sums_are_taken_in_float64(tmp_path: Path) -> None:
    with open_watch(tmp_path, report_frames=10**6) as watch:
        watch.minibatch(MINIBATCH, torch.tensor(2.0**25), 1, 0.1)
        for _ in range(3):
            watch.minibatch(MINIBATCH, torch.tensor(1.0), torch.tensor(1), 0.1)
        state = watch.state_dict().values
    assert (state["loss_sum"], state["correct"]) == (2.0**25 + 3, 4)


def test_a_loss_that_is_no_number_is_null(tmp_path: Path) -> None:
    with open_watch(tmp_path) as watch:
        watch.minibatch(REPORT, float("nan"), 0, 0.1)
        watch.held_out(REPORT, float("inf"), 0.0, accepted=False)
    assert [line["loss"] for line in read_json_lines(tmp_path / "train.jsonl")] == [None, None]
    assert ("train/loss", REPORT) not in scalars(tmp_path)


def test_a_failing_training_records_no_half_interval(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_watch(tmp_path) as watch:
        train(watch, 0, 40)
        raise ZeroDivisionError
    assert [line["frames"] for line in read_json_lines(tmp_path / "train.jsonl")] == [30]


def test_a_full_disk_ends_the_training_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot record the training: No space left") as caught, open_watch(tmp_path) as w:
        (tmp_path / "train.jsonl").unlink()
        (tmp_path / "train.jsonl").symlink_to("/dev/full")
        train(w, 0, 40)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))


def test_a_full_disk_under_the_event_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: EventsWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="cannot record the training"), open_watch(tmp_path) as watch:
        monkeypatch.setattr(EventsWriter, "flush", fail)
        train(watch, 0, TOTAL)
    assert len(read_json_lines(tmp_path / "train.jsonl")) == 1


def test_log_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="asr_parallel"), open_watch(tmp_path) as watch:
        train(watch, 0, 140)
    assert "training: 120 of 210 (57 %) frames, loss 0.0914, accuracy 26.67 %, learning rate 0.000833" in caplog.text
    assert " frames/s, waiting for data " in caplog.text
    assert "1 steps skipped" in caplog.text
    assert "learning rate 0.000833 (limits keep 21 % of a step)" in caplog.text
    assert "epoch 2: held-out loss 0.3571, accuracy 14.00 % (rejected)" in caplog.text


def test_a_terminal_shows_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with open_watch(tmp_path, start_frames=70) as watch:
        train(watch, 70, TOTAL)
    shown = terminal.getvalue()
    assert "training: 100%" in shown
    assert "210/210" in shown
    assert "frames/s" in shown
    assert "accuracy" in shown and "learning rate" in shown and "waiting for data" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report_frames": 0}, "report_frames 0"),
        ({"frames_per_epoch": 0}, "frames_per_epoch 0"),
        ({"start_frames": 20, "state": {"frames": 10}}, "after 10 frames: expected after 20"),
    ],
)
def test_bad_values_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_watch(tmp_path, **changes)


def test_lines_are_in_the_order_of_frames(whole: Path) -> None:
    lines = read_json_lines(whole / "train.jsonl")
    assert all(a["frames"] <= b["frames"] for a, b in pairwise(lines))
