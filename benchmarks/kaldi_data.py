"""Noise and untrained networks for Kaldi's trainers, as benchmarks/kaldi.py takes them."""

from pathlib import Path

import numpy as np
from kaldi_programs import Kaldi

from asr_parallel.features.frames import CONTEXT
from asr_parallel.features.kaldi_writer import write_matrices
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.kaldi.export_network import export_network
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_lines, write_text

FRAMES = 400  # of an utterance


def write_features(folder: Path, name: str, utterances: int, num_pdfs: int) -> None:
    """Write name.ark, name.scp and name.post: noise of 40 dimensions, and a pdf of each frame."""
    random = np.random.default_rng(0)
    keys = [f"u{u:04}" for u in range(utterances)]
    write_matrices(
        folder, name, folder, ((key, random.standard_normal((FRAMES, 40), dtype=np.float32)) for key in keys)
    )
    labels = random.integers(0, num_pdfs, (utterances, FRAMES))
    write_lines(
        folder / f"{name}.post",
        (f"{key} {' '.join(f'[ {pdf} 1 ]' for pdf in own)}" for key, own in zip(keys, labels, strict=True)),
    )


def write_network(folder: Path, spec: NetworkSpec, network_format: str) -> None:
    """Write an untrained network: final.raw, or final.nnet and final.feature_transform."""
    priors = np.full(spec.num_pdfs, -np.log(spec.num_pdfs), dtype=np.float32)
    normalisation = Normalisation("fbank", False, (1.0,) * spec.frame_dim)
    config = {"kind": "fbank", "dim": spec.frame_dim}
    source = folder / "network"
    source.mkdir()
    Network(StackedNetwork(spec).initialise(1), priors, normalisation, config).save(source)
    export_network(source, folder, None, None, network_format, binary=True)


def write_egs(kaldi: Kaldi, folder: Path, name: str, num_pdfs: int, minibatch: int) -> None:
    """Write name.egs of name.scp and name.post: shuffled examples of one frame, merged to minibatches."""
    context = (f"--left-context={CONTEXT}", f"--right-context={CONTEXT}")
    options = (f"--num-pdfs={num_pdfs}", *context, "--num-frames=1")
    kaldi.run("nnet3-get-egs", *options, f"scp:{name}.scp", f"ark:{name}.post", "ark:apart.egs", folder=folder)
    kaldi.run("nnet3-shuffle-egs", "--srand=1", "ark:apart.egs", "ark:shuffled.egs", folder=folder)
    size = f"--minibatch-size={minibatch}"
    kaldi.run("nnet3-merge-egs", size, "ark:shuffled.egs", f"ark:{name}.egs", folder=folder)
    for used in ("apart.egs", "shuffled.egs"):
        (folder / used).unlink()


def write_rbm(kaldi: Kaldi, folder: Path, hidden: int) -> None:
    """Write start.rbm, which has Gaussian visible units for spliced frames."""
    visible = 40 * (2 * CONTEXT + 1)
    kinds = "<VisibleType> gauss <HiddenType> bern <ParamStddev> 0.1"
    write_text(folder / "rbm.proto", f"<Rbm> <InputDim> {visible} <OutputDim> {hidden} {kinds}\n")
    kaldi.run("nnet-initialize", "rbm.proto", "start.rbm", folder=folder)
