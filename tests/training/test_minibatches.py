"""Shares and minibatches: covering, order by the counters alone, the same whichever way the frames take."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.training import loaders
from asr_parallel.training.augmentation import Augmentation
from asr_parallel.training.minibatches import Minibatches
from asr_parallel.training.shares import cut_shares
from asr_parallel.training.splice import splice

DIM, CONTEXT = 4, 2
CPU = torch.device("cpu")
Batch = tuple[Tensor, Tensor]


def make_store(lengths: list[int], speakers: int = 3, copies: int = 0) -> FrameStore:
    """A store whose labels number the real frames, so that a label tells which frame it came with."""
    ids = [f"u{u}" for u in range(len(lengths))]
    names = [f"s{u % speakers}" for u in range(len(lengths))]
    sources = ids + ids[:copies]
    names += [f"sp-{name}" for name in names[:copies]]
    ids += [f"sp-{i}" for i in ids[:copies]]
    lengths = lengths + lengths[:copies]
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths) + 2 * CONTEXT)])
    frames = np.random.default_rng(0).normal(size=(offsets[-1], DIM)).astype(np.float16)
    labels = np.full(offsets[-1], -1, dtype=np.int32)
    real = [row for u in range(len(ids)) for row in range(offsets[u] + CONTEXT, offsets[u + 1] - CONTEXT)]
    labels[real] = np.arange(len(real))
    normalisation = Normalisation("fbank", False, (1.0,) * DIM)
    config = {"kind": "fbank", "dim": DIM}
    return FrameStore(
        frames, labels, ids, names, sources, offsets, CONTEXT, max(1, len(real)), normalisation, config
    )  # fmt: skip


STORE = make_store([31, 17, 40, 5, 28, 33, 12, 26])
SHARES = [STORE.rows_of(share) for share in cut_shares(STORE, np.arange(len(STORE.ids)), 3)]
VARIATION = Augmentation(0.3, 0.2, 2)


def minibatches(
    workers: tuple[int, ...] = (0, 1, 2),
    minibatch: int = 8,
    variation: Augmentation | None = VARIATION,
    dtype: torch.dtype = torch.float32,
    resident: bool | None = None,
    store: FrameStore = STORE,
    seed: int = 3,
) -> Minibatches:
    return Minibatches(store, [SHARES[w] for w in workers], workers, minibatch, seed, variation, dtype, CPU, resident)


def assert_same(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for (x, y), (x2, y2) in zip(a, b, strict=True):
        torch.testing.assert_close(x, x2, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(y, y2)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("minibatches")]


def test_minibatches_hold_the_frames_their_labels_belong_to() -> None:
    data = minibatches(variation=None)
    row_of = np.flatnonzero(STORE.labels >= 0)
    seen: list[list[int]] = [[], [], []]
    for spliced, labels in data.epoch(0):
        assert spliced.shape == (3, 8, STORE.spliced_dim) and spliced.dtype == torch.float32
        assert labels.shape == (3, 8) and labels.dtype == torch.int64
        for r in range(3):
            if spliced[r].isnan().all():
                continue  # the share has ended
            rows = row_of[labels[r].numpy()]
            np.testing.assert_array_equal(spliced[r].numpy(), STORE.gather(rows).astype(np.float32))
            seen[r] += rows.tolist()
    for r in range(3):  # every frame at most once, all but what is short of a minibatch
        assert len(seen[r]) == len(set(seen[r])) == 8 * data.counts[r]
        assert set(seen[r]) <= set(SHARES[r].tolist())
    assert data.counts.tolist() == [len(share) // 8 for share in SHARES]
    assert data.minibatches_per_epoch == max(data.counts) and data.frames_per_epoch == sum(map(len, seen))
    assert data.waited_seconds >= 0


def test_the_shuffle_goes_over_the_whole_share_and_differs_by_epoch_worker_and_seed() -> None:
    whole = [np.arange(192), np.arange(192)]
    store = make_store([192])
    rows = store.rows_of(np.array([0]))

    def order(seed: int, epoch: int) -> np.ndarray:
        data = Minibatches(store, [rows, rows], (4, 9), 32, seed, None, torch.float32, CPU)
        return torch.cat([labels for _, labels in data.epoch(epoch)], dim=1).numpy()

    orders = [order(seed, epoch)[r] for seed in (0, 1) for epoch in (0, 1) for r in (0, 1)]
    for one in orders:
        np.testing.assert_array_equal(np.sort(one), whole[0])
        assert abs(np.corrcoef(one, np.arange(192))[0, 1]) < 0.25
        assert np.abs(np.diff(one)).mean() > 40  # 64 for random order
    assert len({tuple(one) for one in orders}) == len(orders)
    np.testing.assert_array_equal(order(0, 1), order(0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variation", [None, VARIATION, Augmentation(tilt=0.2), Augmentation(widest_mask=2)])
def test_a_resident_store_gives_the_minibatches_of_the_mapped_one(
    dtype: torch.dtype, variation: Augmentation | None
) -> None:
    mapped = list(minibatches(variation=variation, dtype=dtype, resident=False).epoch(1))
    resident = list(minibatches(variation=variation, dtype=dtype, resident=True).epoch(1))
    assert mapped[0][0].dtype == dtype
    assert_same(mapped, resident)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("resident", [False, True])
def test_a_gpu_gets_the_minibatches_of_the_cpu(dtype: torch.dtype, resident: bool) -> None:
    gpu = torch.device("cuda")
    workers = (0, 1, 2)
    data = Minibatches(STORE, [SHARES[w] for w in workers], workers, 8, 3, VARIATION, dtype, gpu, resident)
    got = [(spliced.cpu(), labels.cpu()) for spliced, labels in data.epoch(1)]
    assert_same(got, list(minibatches(dtype=dtype).epoch(1)))


@pytest.mark.parametrize("ahead", [2, 50])
def test_how_far_ahead_is_prepared_does_not_show(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    data = minibatches()
    usual = list(data.epoch(0))
    order = data._order(0)
    for k, minibatch in enumerate(usual):  # the same without any thread
        rows = order[:, 8 * k : 8 * k + 8]
        spliced, labels = data.loader.finish(data.loader.prepare(rows, data._draw(0, k, data._workers)))
        active = data.active(k)
        assert_same(
            [minibatch], [(spliced if active is None else spliced.where(active[:, None, None], np.nan), labels)]
        )
    monkeypatch.setattr("asr_parallel.training.minibatches.AHEAD", ahead)
    assert_same(usual, list(data.epoch(0)))
    assert_same(usual[3:], list(data.epoch(0, 3)))


def test_single_minibatches_are_those_of_all_replicas() -> None:
    """In any order, also back to an epoch that is past, and at its end where shares are used up."""
    data, replicas, places = minibatches(), [], []
    for epoch in (0, 1, 0, 3):
        for k, (spliced, labels) in enumerate(data.epoch(epoch)):
            for r in range(3):
                if data.active(k) is None or data.active(k)[r]:
                    replicas.append((spliced[r : r + 1], labels[r : r + 1]))
                    places.append((r, epoch, k))
    order = np.random.default_rng(0).permutation(len(places))
    assert_same(list(minibatches().of_replicas([places[n] for n in order])), [replicas[n] for n in order])


@settings(deadline=None, max_examples=25)
@given(st.permutations([0, 1, 2]), st.integers(1, 3), st.integers(1, 20), st.integers(0, 5), st.booleans())
def test_workers_do_not_depend_on_those_beside_them(
    order: list[int], count: int, minibatch: int, epoch: int, resident: bool
) -> None:
    workers = tuple(order[:count])
    together = list(minibatches(workers, minibatch, resident=resident).epoch(epoch))
    for r, worker in enumerate(workers):
        alone = minibatches((worker,), minibatch, resident=resident).epoch(epoch)
        for (x, y), (x1, y1) in zip(together, alone, strict=False):
            assert torch.equal(x[r], x1[0]) and torch.equal(y[r], y1[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 9), st.integers(0, 3), st.booleans())
def test_a_resumed_epoch_goes_on_as_if_nothing_had_been(first: int, epoch: int, resident: bool) -> None:
    whole = list(minibatches(resident=resident).epoch(epoch))
    assert_same(whole[first:], list(minibatches(resident=resident).epoch(epoch, first)))


def test_skipped_minibatches_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(frames: np.ndarray, rows: np.ndarray, *others: Any) -> None:
        asked.append(len(rows))
        splice(frames, rows, *others)

    monkeypatch.setattr(loaders, "splice", counted)
    data = minibatches((0,))
    assert len(list(data.epoch(0, data.minibatches_per_epoch - 2))) == 2
    assert sum(asked) == 2 * 8
    assert not list(data.epoch(0, data.minibatches_per_epoch))
    assert sum(asked) == 2 * 8


def test_the_thread_ends_with_the_epoch_or_when_it_is_closed() -> None:
    data = minibatches()
    running = data.epoch(0)
    assert isinstance(running, Iterator)
    next(running)
    assert len(threads()) == 1
    running.close()  # type: ignore[attr-defined]
    assert not threads()
    list(data.epoch(1))
    assert not threads()
    for _ in data.epoch(2):
        break  # the iterator goes out of use
    assert not threads()


def test_what_goes_wrong_in_the_thread_is_raised_where_minibatches_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise OSError("the disk is gone")

    data = minibatches()
    running = data.epoch(0)
    next(running)
    monkeypatch.setattr(loaders, "splice", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(running)
    assert not threads()


def test_minibatches_are_the_consumers_to_change() -> None:
    changed = []
    for x, y in minibatches().epoch(0):
        changed.append((x.clone(), y))
        x.zero_()
    assert_same(changed, list(minibatches().epoch(0)))


@pytest.mark.parametrize(
    ("rows", "minibatch", "message"),
    [
        (0, 8, "worker 7: only 0 frames, less than one minibatch of 8"),
        (5, 8, "worker 7: only 5 frames, less than one minibatch of 8"),
        (5, 0, "minibatch 0, seed 0: expected at least one frame"),
    ],
)
def test_shares_too_small(rows: int, minibatch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Minibatches(STORE, [SHARES[0], SHARES[1][:rows]], (0, 7), minibatch, 0, None, torch.float32, CPU)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["utterance", "speaker"]),
    st.integers(0, 3),
    st.data(),
)
def test_shares_cover_the_utterances_and_nothing_is_torn_apart(
    lengths: list[int], speakers: int, num_workers: int, by: str, seed: int, data: st.DataObject
) -> None:
    store = make_store(lengths, speakers, copies=data.draw(st.integers(0, len(lengths))))
    chosen = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(store.ids), max_size=len(store.ids))))
    groups = np.array(store.groups(by))
    if len(set(groups[chosen])) < num_workers:
        with pytest.raises(ValueError, match=rf"{by}\(s\) to train on for {num_workers} workers; expected at least"):
            cut_shares(store, chosen, num_workers, by, seed)
        return
    parts = cut_shares(store, chosen, num_workers, by, seed)
    shares = [store.rows_of(part) for part in parts]
    assert len(shares) == num_workers
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.sort(store.rows_of(chosen)))
    owners = [set(groups[np.searchsorted(store.offsets, rows, side="right") - 1]) for rows in shares]
    assert all(owners) and sum(map(len, owners)) == len(set(groups[chosen]))
    sizes = [len(rows) for rows in shares]
    largest = max(len(store.rows_of(chosen[groups[chosen] == group])) for group in set(groups[chosen]))
    assert max(sizes) - min(sizes) <= largest
    for one, again in zip(parts, cut_shares(store, chosen, num_workers, by, seed), strict=True):
        np.testing.assert_array_equal(one, again)


def test_many_utterances_make_nearly_equal_shares() -> None:
    lengths = np.random.default_rng(0).integers(100, 1000, 300).tolist()
    store = make_store(lengths)
    shares = cut_shares(store, np.arange(300), 8)
    sizes = [len(store.rows_of(part)) for part in shares]
    assert max(sizes) - min(sizes) <= 0.01 * max(sizes)
    assert {tuple(part) for part in shares} != {tuple(part) for part in cut_shares(store, np.arange(300), 8, seed=1)}


def test_shares_of_other_lengths_end_one_by_one() -> None:
    store = make_store([40, 25, 10])
    shares = [store.rows_of(np.array([u])) for u in range(3)]
    data = Minibatches(store, shares, (0, 1, 2), 5, 0, None, torch.float32, CPU)
    assert data.counts.tolist() == [8, 5, 2] and data.frames_per_epoch == 75
    for k, (spliced, _) in enumerate(data.epoch(0)):
        expected = [k < 8, k < 5, k < 2]
        active = data.active(k)
        assert (active is None) == all(expected) and (active is None or active.tolist() == expected)
        assert [not bool(one.isnan().any()) for one in spliced] == expected
        assert data.frames(k, k + 1).tolist() == [5 * own for own in expected]
    assert k == 7 and data.frames(1, 6).tolist() == [25, 20, 5]


def test_a_worker_among_others_in_another_process_gives_the_same() -> None:
    store = make_store([40, 25, 10])
    shares = [store.rows_of(np.array([u])) for u in range(3)]
    frames = [len(share) for share in shares]
    together = Minibatches(store, shares, (0, 1, 2), 5, 0, None, torch.float32, CPU)
    apart = Minibatches(store, shares[1:2], (1,), 5, 0, None, torch.float32, CPU, frames=frames)
    assert apart.minibatches_per_epoch == 8 and apart.frames_per_epoch == 75
    for (spliced, _), (own, _) in zip(together.epoch(3), apart.epoch(3), strict=True):
        torch.testing.assert_close(spliced[1:2], own, rtol=0, atol=0, equal_nan=True)
