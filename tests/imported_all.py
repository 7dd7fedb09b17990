"""Imports and compiled functions of trainings, for the process that others are forked from; see fast_start.py."""

import importlib
import os

from asr_parallel.record.libraries import set_up_libraries

set_up_libraries()
os.environ["OMP_NUM_THREADS"] = "1"
for name in (
    "asr_parallel.cli.main", "asr_parallel.cli.train_dnn", "asr_parallel.cli.pretrain_rbm", "asr_parallel.record.stage",
    "asr_parallel.training.run_training", "asr_parallel.pretraining.run_pretraining", "matplotlib.font_manager",
    "asr_parallel.training.curves", "torch.distributed", "tensorboardX",
):  # fmt: skip
    importlib.import_module(name)

import torch  # noqa: E402

from asr_parallel.nnet.products import sums_of_squares  # noqa: E402
from asr_parallel.parallel.registry import entries  # noqa: E402

entries()
sums_of_squares([(torch.zeros(1, 2, 2),)])  # numba loads what it has compiled
