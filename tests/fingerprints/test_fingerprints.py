# ruff: noqa: E501
"""Bit-identical networks before and after a change of structure, for every algorithm, optimiser and schedule.

The digests in digests.json hold for one kind of processor and one version of PyTorch, which are the keys. Record those
of another machine, on code that is known to be right, by

    ASR_PARALLEL_RECORD_FINGERPRINTS=1 pytest tests/fingerprints
"""

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fast_start import Started
from safetensors.torch import load_file

from asr_parallel.cli.main import main

DIGESTS = Path(__file__).with_name("digests.json")
RECORD = "ASR_PARALLEL_RECORD_FINGERPRINTS" in os.environ

SMALL = "--hidden-layers 2 --hidden-dim 24 --minibatch 16 --epochs 2 --seed 3 --learning-rate 0.003 --threads 1 --precision float32"
FOUR = "--workers 4 --period 3"

CASES = {
    # algorithms
    "one worker": "",
    "average": f"{FOUR} --algorithm average",
    "block-momentum": f"{FOUR} --algorithm block-momentum",
    "bmuf": f"{FOUR} --algorithm block-momentum --outer bmuf --outer-momentum 0.5",
    "slowmo": f"{FOUR} --algorithm block-momentum --outer slowmo --optimizer nesterov",
    "diloco": f"{FOUR} --algorithm block-momentum --outer diloco --outer-rate 0.6 --optimizer adam",
    "elastic": f"{FOUR} --algorithm elastic --elastic-beta 0.7",
    "eamsgd": f"{FOUR} --algorithm elastic --optimizer nesterov",
    "gradient": "--workers 4 --algorithm gradient",
    "colearn": "--workers 3 --algorithm colearn --epochs 4 --colearn-threshold 10",
    "ensemble": "--workers 3 --algorithm ensemble --period 12 --relabel-fraction 0.3",
    "ensemble posteriors": "--workers 3 --algorithm ensemble --period 12 --relabel-fraction 0.3 --exchange posteriors --top 2",
    "ensemble overlap": "--workers 3 --algorithm ensemble --period 18 --relabel-fraction 0.2 --overlap --pseudo-weight 0.5 --temperature 2",
    "none": "--workers 3 --algorithm none",
    # what workers do beside that
    "equal weights": "--workers 3 --period 3 --algorithm average --weights equal --share-by speaker",
    "best first": f"{FOUR} --algorithm average --best-first 2",
    "own starts": f"{FOUR} --algorithm average --initial own --keep-workers",
    "overlap": f"{FOUR} --algorithm average --overlap",
    "overlap elastic": f"{FOUR} --algorithm elastic --overlap",
    "overlap block-momentum": f"{FOUR} --algorithm block-momentum --overlap",
    "float16": f"{FOUR} --algorithm average --comm-dtype float16",
    "int8": f"{FOUR} --algorithm elastic --comm-dtype int8",
    "int8 block-momentum": f"{FOUR} --algorithm block-momentum --comm-dtype int8",
    "ema": f"{FOUR} --algorithm average --ema 0.9",
    "ema elastic": f"{FOUR} --algorithm elastic --ema 0.9",
    "ema one worker": "--ema 0.9",
    "averaged momentum": f"{FOUR} --algorithm average --optimizer momentum --optimizer-state average",
    "reset": f"{FOUR} --algorithm average --optimizer-state reset",
    "processes": f"{FOUR} --algorithm average --processes 2",
    "processes ensemble": "--workers 3 --algorithm ensemble --period 12 --relabel-fraction 0.3 --processes 2",
    # optimisers
    "sgd": "--optimizer sgd",
    "momentum": "--optimizer momentum --momentum 0.8",
    "nesterov": "--optimizer nesterov",
    "adam": "--optimizer adam",
    "no limits": "--max-change 0 --max-change-output 0 --max-param-change 0",
    "tight limits": "--max-change 0.05 --max-change-output 0.07 --max-param-change 0.1",
    # schedules
    "newbob": "--schedule newbob --epochs 5",
    "newbob gradient": "--workers 2 --algorithm gradient --schedule newbob --halve-from 2 --epochs 4",
    "constant": "--schedule constant",
    "cyclical": "--schedule cyclical --cycle-frames 500",
    # networks
    "sigmoid": "--nonlinearity sigmoid",
    "tanh": "--nonlinearity tanh",
    "relu": "--nonlinearity relu --optimizer sgd",
    "pnorm": "--nonlinearity pnorm --pnorm-group 4",
    "bfloat16": f"{FOUR} --algorithm average --precision bf16",
    # data and the final model
    "variation": "--channel-tilt 0.3 --channel-ripple 0.2 --mask-filters 2",
    "last model": "--combine 0 --prior posterior --held-out 0.2 --held-out-by speaker",
}


def machine() -> str:
    """Return what decides the last bits of a product: the processor's vector instructions, and PyTorch."""
    flags = subprocess.run(["lscpu"], capture_output=True, text=True).stdout.split()
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    vendor = next((word for word in flags if word in ("GenuineIntel", "AuthenticAMD")), platform.processor())
    return " ".join([vendor, *(name for name in wanted if name in flags), f"torch {torch.__version__.split('+')[0]}"])


def digest(folder: Path) -> str:
    """Return a digest of a network's parameters in the order of its layers, and of its priors and held-out losses."""
    found = hashlib.sha256()
    for net in sorted(folder.rglob("net.safetensors")):
        tensors = load_file(net)
        for name in sorted(tensors, key=lambda name: (int("".join(filter(str.isdigit, name))), "bias" in name)):
            found.update(tensors[name].contiguous().numpy().tobytes())
    found.update(np.load(folder / "log_prior.npy").tobytes())
    for line in (folder / "train.jsonl").read_text().splitlines():
        if (values := json.loads(line))["kind"] == "held-out":
            found.update(repr((values["frames"], values["loss"], values["accuracy"])).encode())
    return found.hexdigest()[:32]


def check(case: str, found: str) -> None:
    recorded = json.loads(DIGESTS.read_text()) if DIGESTS.is_file() else {}
    if RECORD:
        recorded.setdefault(machine(), {})[case] = found
        DIGESTS.write_text(json.dumps(recorded, indent=1) + "\n")
        return
    if case not in recorded.get(machine(), {}):
        pytest.skip(f"no digest of this kind of machine: {machine()}")
    assert found == recorded[machine()][case]


@pytest.fixture(autouse=True)
def known_machine() -> None:
    if not RECORD and (not DIGESTS.is_file() or machine() not in json.loads(DIGESTS.read_text())):
        pytest.skip(f"no digests of this kind of machine: {machine()}")


@pytest.mark.parametrize("case", CASES)
def test_networks_are_the_same(case: str, frames_folder: Path, tmp_path: Path) -> None:
    words = ["train-dnn", "--frames", str(frames_folder), "--out", str(tmp_path / "net"), *SMALL.split()]
    given = CASES[case].split()
    assert (Started([*words, *given]).wait(120) if "--processes" in given else main([*words, *given])) == 0
    check(case, digest(tmp_path / "net"))


def test_a_student_and_a_later_start_are_the_same(frames_folder: Path, tmp_path: Path) -> None:
    words = ["train-dnn", "--frames", str(frames_folder), *SMALL.split()]
    assert main([*words, "--out", str(tmp_path / "teacher")]) == 0
    taught = ["--teacher", str(tmp_path / "teacher"), "--temperature", "2", "--seed", "4"]
    assert main([*words, "--out", str(tmp_path / "student"), *taught]) == 0
    check("teacher", digest(tmp_path / "student"))
    assert main([*words, "--out", str(tmp_path / "later"), "--start", str(tmp_path / "teacher")]) == 0
    check("start", digest(tmp_path / "later"))


RBMS = {"one": "", "average": "--workers 3 --algorithm average --period 4", "none": "--workers 3 --algorithm none"}


@pytest.mark.parametrize("case", RBMS)
def test_rbms_are_the_same(case: str, frames_folder: Path, tmp_path: Path) -> None:
    common = f"--frames {frames_folder} --hidden-dim 24 --minibatch 16 --threads 1 --precision float32 --seed 3"
    rbm = tmp_path / "rbm"
    words = f"pretrain-rbm --out {rbm} --layers 2 --epochs 1 {common} {RBMS[case]}"
    assert main(words.split()) == 0
    found = hashlib.sha256()
    for file in sorted(rbm.rglob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    check(f"rbm {case}", found.hexdigest()[:32])
    if case == "one":
        words = f"train-dnn --out {tmp_path / 'net'} --pretrain rbm --rbm {rbm} --nonlinearity sigmoid {common}"
        assert main([*words.split(), "--hidden-layers", "2", "--epochs", "1"]) == 0
        check("rbm network", digest(tmp_path / "net"))
