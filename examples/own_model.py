"""Train a model of your own on K workers: a plain torch.nn.Module, a torch optimiser, an algorithm of asr_parallel.

    python examples/own_model.py --processes 2 --algorithm elastic
    torchrun --standalone --nproc-per-node 2 examples/own_model.py --algorithm elastic

The task is made up: an LSTM says which of its input's dimensions was largest two frames earlier.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.sync_scheduler import SyncScheduler
from asr_parallel.parallel.torch_module import ModuleReplicas
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.parallel.worker_options import make_algorithm, split

DIM, FRAMES, UTTERANCES = 4, 20, 16  # of the input, of an utterance, of a minibatch


class Tagger(nn.Module):
    """An LSTM with batch normalisation, whose running means are averaged like parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(DIM)
        self.lstm = nn.LSTM(DIM, 32, batch_first=True)
        self.output = nn.Linear(32, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(self.norm(x.mT).mT)[0])


def draw_minibatch(random: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(UTTERANCES, FRAMES, DIM, generator=random)
    return x, x.argmax(dim=2).roll(2, dims=1)


def loss_of(model: Tagger, x: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x)[:, 2:].flatten(0, 1), labels[:, 2:].flatten(), reduction="sum")


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    transport = join(Path("own_model.rendezvous"), device="cpu", interface=None, timeout=60)
    group = WorkerGroup(transport.size, transport)  # a worker in every process

    torch.manual_seed(0)  # all workers begin with the same model
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    random = torch.Generator().manual_seed(1 + transport.rank)  # and train on different data

    replicas = ModuleReplicas(model)
    workers, constants = split(workers=group.num_workers, algorithm=args.algorithm, period=args.period)
    scheduler = SyncScheduler(make_algorithm(constants), group, replicas, workers)
    frames = np.full(group.num_workers, UTTERANCES * (FRAMES - 2))  # that every worker trains on
    for _ in range(args.minibatches):
        optimizer.zero_grad()
        loss = loss_of(model, *draw_minibatch(random))
        (loss / frames[0]).backward()
        optimizer.step()
        scheduler.after_batch(replicas, frames, loss.detach()[None])

    replicas.load(scheduler.finish(replicas))
    if group.is_main:
        model.eval()
        x, labels = draw_minibatch(torch.Generator().manual_seed(0))
        accuracy = (model(x).argmax(dim=2) == labels)[:, 2:].float().mean()
        counts = f"{group.num_workers} workers, {scheduler.num_syncs} synchronizations"
        print(f"{args.algorithm}, {counts}: accuracy {accuracy:.3f}")
        if args.out is not None:
            torch.save(model.state_dict(), args.out)
    transport.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="average", help="average, block-momentum or elastic")
    parser.add_argument("--period", type=int, default=8, help="minibatches between two synchronizations")
    parser.add_argument("--minibatches", type=int, default=200, help="of each worker")
    parser.add_argument("--processes", type=int, default=1, help="to start on this machine")
    parser.add_argument("--out", type=Path, help="file for the trained model's state_dict")
    args = parser.parse_args()
    if args.processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.processes}"]
        sys.exit(subprocess.run([*torchrun, __file__, *sys.argv[1:], "--processes=1"]).returncode)
    train(args)
