"""Imports of verbs and compiled functions of trainings, for the process that others are forked from; see fast_start."""

import gc
import importlib
import os

from asr_parallel.record.libraries import set_up_libraries

set_up_libraries()
os.environ["OMP_NUM_THREADS"] = "1"
for name in (
    "asr_parallel.cli.main", "asr_parallel.cli.train_dnn", "asr_parallel.cli.pretrain_rbm", "asr_parallel.record.stage",
    "asr_parallel.training.run_training", "asr_parallel.pretraining.run_pretraining", "matplotlib.font_manager",
    "asr_parallel.training.curves", "torch.distributed", "tensorboardX", "lhotse", "kaldilm", "kaldi_native_fbank",
    "asr_parallel.hmm.graph", "asr_parallel.hmm.mono", "asr_parallel.hmm.tri", "asr_parallel.decode.decode",
    "asr_parallel.decode.scoring", "asr_parallel.compare.jobs", "asr_parallel.compare.collect",
    "asr_parallel.compare.modelled", "asr_parallel.report.write_report",
):  # fmt: skip
    importlib.import_module(name)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from no_pixels import leave_out_pixels  # noqa: E402

from asr_parallel.nnet.architectures.dnn import dnn  # noqa: E402
from asr_parallel.nnet.max_change import MaxChange  # noqa: E402
from asr_parallel.nnet.optimizers import optimizer  # noqa: E402
from asr_parallel.nnet.stacked import StackedNetwork  # noqa: E402
from asr_parallel.parallel.asynchronous.messages import Digest  # noqa: E402
from asr_parallel.parallel.registry import entries  # noqa: E402
from asr_parallel.record.environment import environment  # noqa: E402
from asr_parallel.training.curves import draw_curves  # noqa: E402

entries()
environment()
leave_out_pixels()
draw_curves([{"kind": "train", "frames": 1, "epoch": 1.0, "loss": 1.0, "accuracy": 0.5, "learning_rate": 0.1}])
Digest(b"", np.zeros(16, np.uint8)).update(16)
network = StackedNetwork(dnn(2, 1, 1, 4, 3, "relu-renorm")).initialise(1)
minibatch = network.backward(torch.zeros(1, 4, 6), torch.zeros(1, 4, dtype=torch.int64))
optimizer("ng-sgd", network, MaxChange(), 0.9).step(minibatch, 0.1)  # numba loads what it has compiled
gc.freeze()  # a collection in a forked process would copy every page that it looks at
gc.get_freeze_count = lambda: 1  # and to count them, as a training would, takes a tenth of its time
