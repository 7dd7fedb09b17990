"""Modules of PyTorch as workers' models: one memory, and every parameter and buffer in the mean."""

import numpy as np
import pytest
import torch
from torch import nn

from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.torch_module import ModuleReplicas
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import make_algorithm, split


class Small(nn.Module):
    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.lstm = nn.LSTM(3, hidden, num_layers=2, batch_first=True)
        self.output = nn.Linear(hidden, 3)
        self.register_buffer("scale", torch.rand(3))
        self.tied = self.output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tied(self.lstm(self.norm(x.mT).mT)[0]) * self.scale


def step(module: Small, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    module(x).square().sum().backward()
    optimizer.step()


def test_every_parameter_and_buffer_is_averaged() -> None:
    torch.manual_seed(0)
    modules = [Small(), Small()]
    modules[1].load_state_dict(modules[0].state_dict())
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9) for module in modules]
    replicas, group = ModuleReplicas(*modules), WorkerGroup(2)
    workers, constants = split(workers=2, algorithm="average", period=3)
    scheduler = SyncScheduler(make_algorithm(constants), group, replicas, workers)
    for k in range(3):
        for worker, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            step(module, optimizer, 10 * k + worker)
        before = [{name: t.clone() for name, t in module.state_dict().items()} for module in modules]
        synchronized = scheduler.after_batch(replicas, np.array([4, 4]))
    assert synchronized
    for module in modules:
        after = module.state_dict()
        assert "norm.running_var" in after and "scale" in after and "lstm.weight_hh_l1" in after
        for name, tensor in after.items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, (before[0][name] + before[1][name]) / 2, msg=name)
    assert not torch.equal(before[0]["norm.running_mean"], before[1]["norm.running_mean"])
    assert modules[0].norm.num_batches_tracked == 3


def test_a_module_trains_as_it_would_alone_and_shares_the_buffers_memory() -> None:
    torch.manual_seed(0)
    alone, own = Small(), Small()
    own.load_state_dict(alone.state_dict())
    replicas = ModuleReplicas(own)
    first, second = (torch.optim.Adam(module.parameters(), lr=0.01) for module in (alone, own))
    for k in range(3):
        step(alone, first, k)
        step(own, second, k)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(own.state_dict()[name], tensor), name
    replicas.load(torch.zeros(replicas.parameters.shape[1]))
    assert not any(t.any() for t in own.state_dict().values() if t.is_floating_point())
    numbers = sum(t.numel() for t in {id(t): t for t in (*own.parameters(), *own.buffers())}.values())
    assert replicas.parameters.shape == (1, numbers - 1)  # but for the counter of batches


def test_what_cannot_be_workers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight: torch\.float64; expected torch\.float32"):
        ModuleReplicas(nn.Linear(2, 2).double())
    for modules in ([], [Small(), Small(6)], [nn.ReLU()]):
        with pytest.raises(ValueError, match="of the same parameters and shapes"):
            ModuleReplicas(*modules)
