"""The number of exchanges of a training, what limits cut away, and warnings."""

import json
from pathlib import Path
from typing import Any

import pytest

from asr_parallel.compare.exchanges import LEAST_SYNCS, cut_share, with_exchanges
from asr_parallel.compare.matrix import Matrix
from asr_parallel.parallel.algorithms.block_momentum import BlockMomentum, BlockMomentumOptions
from asr_parallel.report.comparison import Cell


def cell(
    folder: Path, algorithm: str, workers: int, syncs: int | None, epoch_frames: int, periods: tuple[int, ...] = (),
    **options: Any,
) -> Cell:  # fmt: skip
    path = folder / "compare.yaml"
    path.write_text(json.dumps({"workers": [workers], "algorithms": {algorithm: {"minibatch": 64, **options}}}))
    training = Matrix.read(path).trainings[-1]
    stats = folder / "sync_stats.json"
    stats.write_text(json.dumps({} if syncs is None else {"syncs": syncs}))
    return with_exchanges(
        Cell("c", algorithm, workers, "sgd", 1, "done", periods=periods), training, stats, epoch_frames
    )


def test_the_share_that_limits_cut_away_is_a_mean_over_frames() -> None:
    lines = [
        {"kind": "train", "frames": 100, "max_change_scale": 0.5},
        {"kind": "held-out", "frames": 100},
        {"kind": "train", "frames": 400, "max_change_scale": 0.9},
        {"kind": "train", "frames": 900, "max_change_scale": None},  # no step was applied
    ]
    assert cut_share(lines) == pytest.approx((100 * 0.5 + 300 * 0.1) / 400)
    assert cut_share(lines[:1]) == 0.5 and cut_share([]) is None
    assert cut_share([{"kind": "train", "frames": 100}]) is None  # before it was recorded


@pytest.mark.parametrize(
    ("algorithm", "recorded", "of_a_worker"),
    [("average", 12, 12), ("gradient", 900, 900), ("downpour", 48, 12), ("none", 900, 0), ("average", None, None)],
)
def test_synchronizations_of_a_worker(
    tmp_path: Path, algorithm: str, recorded: int | None, of_a_worker: float | None
) -> None:
    """Pushes of asynchronous workers are counted for all of them; isolated ones count minibatches and have none."""
    found = cell(tmp_path, algorithm, 4, recorded, 1_000_000)
    assert found.syncs == of_a_worker and not found.warnings


def test_a_single_worker_has_none(tmp_path: Path) -> None:
    found = cell(tmp_path, "average", 1, 900, 10)
    assert found.syncs is None and not found.warnings


def test_few_synchronizations_are_a_warning(tmp_path: Path) -> None:
    assert not cell(tmp_path, "average", 4, LEAST_SYNCS, 1_000_000).warnings
    (text,) = cell(tmp_path, "average", 4, LEAST_SYNCS - 1, 1_000_000).warnings
    assert text.startswith(f"{LEAST_SYNCS - 1} synchronizations")
    (text,) = cell(tmp_path, "downpour", 4, 4 * LEAST_SYNCS - 1, 1_000_000).warnings
    assert text.startswith("9.75 synchronizations")


def test_block_momentum_asks_for_data_by_the_square_of_workers(tmp_path: Path) -> None:
    """CNTK's rule: period x minibatch x K^2 frames; 0.88 M by minibatches of 64 suffice for 16 workers, not for 32."""
    for workers, least in ((16, 262_144), (32, 1_048_576)):
        assert not cell(tmp_path, "block-momentum", workers, 50, least, period=16).warnings
        (text,) = cell(tmp_path, "block-momentum", workers, 50, least - 1, period=16).warnings
        assert f"{least:,}" in text
    assert not cell(tmp_path, "average", 32, 50, 1, period=16).warnings


def test_of_growing_periods_the_longest_asks_for_most_data(tmp_path: Path) -> None:
    for periods, least in (((16, 16), 262_144), ((16, 320), 5_242_880)):
        given = {"period": 16, "qsr_alpha": 1.0, "periods": periods}
        assert not cell(tmp_path, "block-momentum", 16, 50, least, **given).warnings
        (text,) = cell(tmp_path, "block-momentum", 16, 50, least - 1, **given).warnings
        assert text.endswith(f"fewer than the {least:,} that its momentum remembers with its longest period,"
                             f" {periods[1]} minibatches")  # fmt: skip


def test_a_given_momentum_remembers_as_much_whatever_the_number_of_workers() -> None:
    for options, blocks in (
        ({}, 8), ({"outer": "diloco"}, 10), ({"outer": "slowmo"}, 2), ({"outer_momentum": 0.75}, 4)
    ):  # fmt: skip
        algorithm = BlockMomentum(BlockMomentumOptions(period=4, **options))
        assert algorithm.least_frames(8, 32) == blocks * 4 * 32 * 8
