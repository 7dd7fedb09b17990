"""Models that come by one after the other: in order, with all their bits, two at a time."""

import pytest
import torch
from stand_ins import random_models, together
from torch import Tensor

from asr_parallel.parallel import worker_group
from asr_parallel.parallel.transport import Transport
from asr_parallel.parallel.worker_group import WorkerGroup, every_model

SIZE = 11


def models(num_workers: int) -> Tensor:
    """Among them what addition or multiplication by 0 or 1 would change."""
    every = random_models(num_workers, SIZE, 3)
    every[:, 0], every[:, 1], every[:, 2], every[:, 3] = -0.0, torch.inf, torch.nan, 1e-42
    return every


def own(group: WorkerGroup, every: Tensor) -> Tensor:
    return every[list(group.local_workers)].clone()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("workers", [[0, 1, 2, 3, 4, 5], [4], [1, 4], [5, 0, 3, 1]])
def test_every_process_sees_all_models_in_order(processes: int, workers: list[int]) -> None:
    """Bit for bit, and its own models stay as they are."""
    every = models(6)

    def job(transport: Transport) -> None:
        group = WorkerGroup(6, transport)
        parameters = own(group, every)
        seen = [(worker, model.clone()) for worker, model in every_model(group, parameters, workers)]
        assert [worker for worker, _ in seen] == workers
        for worker, model in seen:
            assert torch.equal(model.view(torch.int32), every[worker].view(torch.int32))
        assert torch.equal(parameters.view(torch.int32), own(group, every).view(torch.int32))

    together(processes, job)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_no_more_than_two_models_of_others_are_held(processes: int) -> None:
    every = models(8)

    def job(transport: Transport) -> set[int]:
        group = WorkerGroup(8, transport)
        parameters = own(group, every)
        mine = {row.data_ptr() for row in parameters}
        others = set()
        for worker, model in every_model(group, parameters, range(8)):
            assert (model.data_ptr() in mine) == (worker in group.local_workers)  # one's own are not copied
            others |= {model.data_ptr()} - mine
        return others

    for others in together(processes, job):
        assert len(others) == (0 if processes == 1 else 2)


@pytest.mark.timeout(60)
def test_room_for_two_is_made_and_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    every, made = models(4), []

    def job(transport: Transport) -> None:
        group = WorkerGroup(4, transport)
        for _ in every_model(group, own(group, every), [0, 1] if transport.size == 2 else range(4)):
            pass

    make = torch.empty_like

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(torch, name)

        def empty_like(self, like: Tensor) -> Tensor:
            made.append(like.numel())
            return make(like)

    monkeypatch.setattr(worker_group, "torch", Counting())
    together(1, job)
    assert made == []
    together(2, job)  # all of rank 0, so only rank 1 needs room
    assert made == [SIZE, SIZE]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_reader_that_leaves_early_leaves_nothing_under_way(processes: int, after: int) -> None:
    """The next thing that processes do together is not mixed up with a model that nobody asked for."""
    every = models(6)

    def job(transport: Transport) -> None:
        group = WorkerGroup(6, transport)
        waited, started, begin = [], [], transport.start_broadcast

        def counted(tensor: Tensor, rank: int) -> object:
            wait = begin(tensor, rank)
            started.append(rank)

            def recorded() -> None:
                waited.append(rank)
                wait()

            return recorded

        transport.start_broadcast = counted
        coming = every_model(group, own(group, every), range(6))
        for n in range(after):
            worker, model = next(coming)
            assert worker == n and torch.equal(model.view(torch.int32), every[n].view(torch.int32))
        coming.close()
        assert started == waited == [group.rank_of(n) for n in range(min(after + 1, 6) if after else 0)]
        total = torch.ones(3)
        transport.all_reduce(total)
        assert total.tolist() == [processes] * 3

    together(processes, job)
