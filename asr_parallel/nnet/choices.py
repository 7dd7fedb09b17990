"""Words and numbers that options offer, apart from the code behind them: --help and checks need no torch."""

import re

OPTIMIZERS = ("ng-sgd", "sgd", "momentum", "nesterov", "adam")  # classes in optimizers.py
NONLINEARITIES = ("sigmoid", "tanh", "relu", "relu-renorm", "pnorm")
AVERAGES = ("posterior", "log-posterior")  # of several networks' outputs
PRECISIONS = ("auto", "float32", "bf16")
DEVICES = ("auto", "cpu", "cuda")

PNORM_GROUP = 10  # Kaldi steps/nnet2/train_pnorm_fast.sh: 3000 to 300
WEIGHT_L2 = 2e-4  # of RBMs; Kaldi steps/nnet/pretrain_dbn.sh


def check_device(name: str) -> None:
    """Raise ValueError for a word that names no device; whether there is such a device is another matter."""
    if name not in DEVICES and not re.fullmatch(r"cuda:[0-9]+", name):
        raise ValueError(f"unknown device {name!r}; expected {', '.join(DEVICES)} or cuda:N")
