"""Imports of verbs and compiled functions of trainings, for the process that others are forked from; see fast_start."""

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

import torch  # noqa: E402

from asr_parallel.nnet.products import sums_of_squares  # noqa: E402
from asr_parallel.parallel.registry import entries  # noqa: E402

entries()
sums_of_squares([(torch.zeros(1, 2, 2),)])  # numba loads what it has compiled
