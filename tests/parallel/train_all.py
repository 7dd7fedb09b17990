"""Run in several processes: trains four workers by one algorithm after the other."""

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network
from asr_parallel.parallel.rendezvous import join
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.training.train_options import training_options
from asr_parallel.training.trainer import Trainer

COMMON = {
    "workers": 4,
    "hidden_layers": 1,
    "hidden_dim": 16,
    "minibatch": 8,
    "epochs": 2,
    "combine": 0,
    "precision": "float32",
    "learning_rate": 0.002,
}
EVERY = {"period": 1}  # 210 synchronizations of 210 minibatches
SECOND = {"period": 2}  # half as many
# Of 105 minibatches one is labelled in a round
ENSEMBLE = {"algorithm": "ensemble", "relabel_fraction": 0.01}
RUNS = {
    "average": EVERY,
    "average, overlap": SECOND | {"overlap": True},
    "average, int8, ema": SECOND | {"comm_dtype": "int8", "ema": 0.9},
    "average, best first, Adam's state averaged": SECOND | {
        "best_first": 3, "weights": "equal", "optimizer": "adam", "learning_rate": 1e-3, "optimizer_state": "average",
    },
    "average, quadratic rule": {"period": 1, "qsr_alpha": 0.03},
    "average, growing": EVERY | {"workers_first": 1},
    "gradient, growing": {"algorithm": "gradient", "workers_first": 2},
    # At twice these rates momentum makes more of rounding errors than of anything else
    "block momentum": EVERY | {"algorithm": "block-momentum", "learning_rate": 0.001},
    "block momentum, SlowMo, reset": SECOND | {
        "algorithm": "block-momentum", "outer": "slowmo", "optimizer": "momentum", "learning_rate": 0.001,
    },
    "elastic": SECOND | {"algorithm": "elastic"},
    "elastic, Nesterov, float16": SECOND | {"algorithm": "elastic", "optimizer": "nesterov", "comm_dtype": "float16"},
    "gradient": {"algorithm": "gradient"},
    "gradient, SGD": {"algorithm": "gradient", "optimizer": "sgd"},
    "colearn": {"algorithm": "colearn", "share_by": "utterance", "epochs": 3},
    "ensemble, labels seen twice": ENSEMBLE | {"period": 3, "compress_minibatches": 2},
    "ensemble, others": ENSEMBLE | {"period": 3, "compress_minibatches": 3, "teachers": "others"},
    "ensemble, posteriors": ENSEMBLE | {
        "exchange": "posteriors", "top": 2, "ensemble_average": "log-posterior", "period": 4,
    },
    "ensemble, overlap": ENSEMBLE | {"overlap": True, "period": 5},
    "none": {"algorithm": "none", "epochs": 1},
}  # fmt: skip


def train_all(words: list[str]) -> None:
    """Train on a folder of frames, into another folder."""
    frames, out = map(Path, words)
    torch.set_num_threads(1)
    transport = join(out / "rendezvous", "cpu", None, 30)
    try:
        for name, more in RUNS.items():
            trainer = Trainer(
                FrameStore.open(frames),
                training_options(**{**COMMON, **more}),
                out / name,
                None,
                WorkerGroup(4, transport),
            )
            network = trainer.run()
            if network is not None:
                tensors = {"parameters": network.net.parameters, "syncs": torch.tensor(trainer.scheduler.num_syncs)}
                for member in (out / name).glob("ensemble/[0-9]"):
                    tensors[f"member {member.name}"] = Network.open(member).net.parameters
                save_file(tensors, out / f"{name}.safetensors")
            assert transport.rank == int(os.environ.get("RANK", "0"))
    finally:
        transport.close()
