"""Speed of our trainer, contrastive divergence and decoder beside Kaldi's programs, in turns on one core.

    python benchmarks/kaldi.py KALDI_ROOT [--turns 5] [--only nnet3,nnet3-large,nnet1,rbm,decoding]
        [--graph GRAPH --model MODEL --feats FEATS [--utterances 4]] [--figures FILE]

KALDI_ROOT/src has Kaldi's programs, compiled without CUDA.

nnet3        natural gradient, 440-512x3-157, relu-renorm, minibatch 256, beside nnet3-train on merged examples
nnet3-large  natural gradient, 440-1024x4-2000, relu, minibatch 512, beside nnet3-train
nnet1        plain SGD, 440-512x3-157, sigmoid, minibatch 256, beside nnet-train-frmshuff
rbm          CD-1 of 440-512, Gaussian visible units, minibatch 100, beside rbm-train-cd1-frmshuff
decoding     search, determinization and gzipped lattices, beside latgen-faster-mapped; --graph, --model and --feats are
             what `asr-parallel decode` takes, and the log-likelihoods that both are given are the model's

Features and targets are noise; Kaldi starts from networks that we export. Speeds are frames a second of processor time,
so that other work on the machine matters less. Every turn runs Kaldi's program twice, on few frames and on many: the
difference is without its start, loading, compiling and first minibatches, which we do before the turns, too.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import LARGE, PRECISIONS, WARM_UP, Steps, make_store
from decoding import OPTIONS
from figures import Figures
from kaldi_data import FRAMES, write_egs, write_features, write_network, write_rbm
from kaldi_programs import Kaldi
from rbm import cd1
from training import train

from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.decode.compact_lattice import compact_bytes
from asr_parallel.decode.decoder import Decoder
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.lattice_archive import write_lattices
from asr_parallel.features.frames import CONTEXT
from asr_parallel.features.kaldi_writer import write_matrices
from asr_parallel.hmm.kaldi.model_writer import write_transition_model
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.spec import NetworkSpec

RENORM = dnn(40, CONTEXT, 3, 512, 157, "relu-renorm")
SIGMOID = dnn(40, CONTEXT, 3, 512, 157, "sigmoid")
FEW = 16  # utterances of noise: whole minibatches of 100 and of 256
MANY, MANY_LARGE = 112, 48
FEW_FRAMES = 10  # of an utterance to decode
# as of steps/nnet3/train_dnn.py; --max-param-change bounds a minibatch's change as our MaxChange does
NNET3 = ("--use-gpu=no", "--momentum=0", "--max-param-change=2.0")
# small, because the data are noise
NNET1 = ("--use-gpu=no", "--learn-rate=1e-6", "--minibatch-size=256")
RBM = ("--use-gpu=no", "--learn-rate=1e-5", "--minibatch-size=100")

Turn = Callable[[], float]
"""Runs once and returns frames a second of processor time."""


def of_kaldi(kaldi: Kaldi, few: list[str], many: list[str], frames: int) -> Turn:
    """Return turns of a program: `many` has so many frames more than `few`."""

    def turn() -> float:
        seconds = kaldi.seconds(*many) - kaldi.seconds(*few)
        if seconds <= 0:
            raise ValueError(f"{many[0]}: {frames} frames more took no time; expected a machine with less other work")
        return frames / seconds

    return turn


def of_ours(steps: Steps, count: int, warm_up: int = WARM_UP) -> Turn:
    """Return turns of so many steps, after the first few."""
    steps(warm_up)

    def turn() -> float:
        began = time.process_time()
        frames = steps(count)
        return frames / (time.process_time() - began)

    return turn


def nnet3(kaldi: Kaldi, folder: Path, spec: NetworkSpec, minibatch: int, many: int) -> dict[str, Turn]:
    """Return the contestants of natural gradient."""
    write_network(folder, spec, "nnet3")
    kaldi.run("nnet3-copy", "--learning-rate=1e-6", "final.raw", "start.raw", folder=folder)
    commands = []
    for name, utterances in (("few", FEW), ("many", many)):
        write_features(folder, name, utterances, spec.num_pdfs)
        write_egs(kaldi, folder, name, spec.num_pdfs, minibatch)
        commands.append(["nnet3-train", *NNET3, f"{folder}/start.raw", f"ark:{folder}/{name}.egs", "/dev/null"])
    frames = (many - FEW) * FRAMES
    store = make_store(folder / "store", 50_000, spec.num_pdfs)
    return {"nnet3-train": of_kaldi(kaldi, *commands, frames)} | {
        f"ng-sgd {name}": of_ours(train(spec, store, minibatch, "ng-sgd", dtype), frames // minibatch)
        for name, dtype in PRECISIONS.items()
    }


def nnet1(kaldi: Kaldi, folder: Path) -> dict[str, Turn]:
    """Return the contestants of plain SGD."""
    write_network(folder, SIGMOID, "nnet1")
    commands = []
    for name, utterances in (("few", FEW), ("many", MANY)):
        write_features(folder, name, utterances, SIGMOID.num_pdfs)
        data = [f"scp:{folder}/{name}.scp", f"ark:{folder}/{name}.post"]
        options = [f"--feature-transform={folder}/final.feature_transform", *NNET1]
        commands.append(["nnet-train-frmshuff", *options, *data, f"{folder}/final.nnet", "/dev/null"])
    frames = (MANY - FEW) * FRAMES
    store = make_store(folder / "store", 50_000, SIGMOID.num_pdfs)
    return {"nnet-train-frmshuff": of_kaldi(kaldi, *commands, frames)} | {
        f"sgd {name}": of_ours(train(SIGMOID, store, 256, "sgd", dtype), frames // 256)
        for name, dtype in PRECISIONS.items()
    }


def rbm(kaldi: Kaldi, folder: Path) -> dict[str, Turn]:
    """Return the contestants of contrastive divergence."""
    write_network(folder, SIGMOID, "nnet1")  # for its feature transform
    write_rbm(kaldi, folder, 512)
    commands = []
    for name, utterances in (("few", FEW), ("many", MANY)):
        write_features(folder, name, utterances, 2)
        options = [f"--feature-transform={folder}/final.feature_transform", *RBM]
        commands.append(
            ["rbm-train-cd1-frmshuff", *options, f"{folder}/start.rbm", f"scp:{folder}/{name}.scp", "/dev/null"]
        )
    frames = (MANY - FEW) * FRAMES
    return {"rbm-train-cd1-frmshuff": of_kaldi(kaldi, *commands, frames)} | {
        f"CD-1 {name}": of_ours(cd1(440, 512, 100, dtype), frames // 100) for name, dtype in PRECISIONS.items()
    }


def decoding(kaldi: Kaldi, folder: Path, graph: Path, model: Path, feats: Path, utterances: int) -> dict[str, Turn]:
    """Return the contestants of decoding: both are given log-likelihoods made before, Kaldi's in a file."""
    acoustic, transitions = open_acoustic_model(model), TransitionModel.open(graph)
    features = acoustic.open_features(feats)
    chosen = np.linspace(0, len(features.ids) - 1, min(utterances, len(features.ids))).astype(int)
    scores = [(f"u{k:04}", acoustic.log_likelihoods(features[u])) for k, u in enumerate(chosen)]
    few = [(key, matrix[:FEW_FRAMES]) for key, matrix in scores[:1]]
    out = ObjectWriter(binary=True)
    write_transition_model(out, transitions)
    out.save(folder / "final.mdl")
    # as utils/mkgraph.sh does
    kaldi.run("fstconvert", "--fst_type=const", str((graph / "HCLG.fst").absolute()), "HCLG.fst", folder=folder)
    options = {
        "acoustic-scale": OPTIONS.acwt, "beam": OPTIONS.beam, "lattice-beam": OPTIONS.lattice_beam,
        "max-active": OPTIONS.max_active, "min-active": OPTIONS.min_active, "determinize-lattice": "true",
    }  # fmt: skip
    commands = []
    for name, matrices in (("few", few), ("many", scores)):
        write_matrices(folder, name, folder, matrices)
        files = [f"{folder}/final.mdl", f"{folder}/HCLG.fst", f"ark:{folder}/{name}.ark"]
        given = [f"--{option}={value}" for option, value in options.items()]
        commands.append(["latgen-faster-mapped", *given, *files, f"ark:| gzip -c > {folder}/{name}.gz"])
    decoder = Decoder(SearchGraph.open(graph / "search"), transitions.pdf_of, OPTIONS)
    determinizer = Determinizer(transitions, OPTIONS.acwt, OPTIONS.lattice_beam)

    def decode(count: int) -> int:
        lattices = ((key, decoder.decode(matrix).lattice) for key, matrix in scores[:count])
        found = ((key, compact_bytes(determinizer(lattice))) for key, lattice in lattices if lattice is not None)
        write_lattices(folder / "ours.gz", found)
        return sum(len(matrix) for _, matrix in scores[:count])

    frames = sum(len(matrix) for _, matrix in scores) - sum(len(matrix) for _, matrix in few)
    print(f"{len(scores)} utterances of {frames / 100:.0f} s in all", flush=True)
    return {
        "latgen-faster-mapped": of_kaldi(kaldi, *commands, frames),
        "decoder": of_ours(decode, len(scores), warm_up=1),  # the first compiles
    }


def speeds(contestants: dict[str, Turn], turns: int) -> dict[str, list[float]]:
    """Return the speeds of each, by turn."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, turn in contestants.items():
            found[name].append(turn())
    return found


def rows(found: dict[str, list[float]]) -> list[str]:
    """Return a table's rows: medians, and the median, least and greatest of the turns' ratios to the first."""
    base = next(iter(found.values()))
    lines = []
    for name, values in found.items():
        ratios = [value / first for value, first in zip(values, base, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {name} | {statistics.median(values):,.0f} | {'1' if values is base else spread} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="KALDI_ROOT")
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--only", help="parts to run, with commas (default: all, decoding if --graph is given)")
    for name in ("graph", "model", "feats"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="of an experiment, for decoding")
    parser.add_argument(
        "--utterances", type=int, default=4, help="to decode, spread over the set (default: %(default)s)"
    )
    parser.add_argument("--figures", type=Path, help="file that figures are appended to, for benchmarks/compare.py")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kaldi, given = Kaldi(args.root.absolute()), (args.graph, args.model, args.feats)
    parts: dict[str, tuple[str, Callable[[Path], dict[str, Turn]]]] = {
        "nnet3": (
            "natural gradient, 440-512x3-157, relu-renorm, minibatch 256",
            lambda folder: nnet3(kaldi, folder, RENORM, 256, MANY),
        ),
        "nnet3-large": (
            "natural gradient, 440-1024x4-2000, relu, minibatch 512",
            lambda folder: nnet3(kaldi, folder, LARGE, 512, MANY_LARGE),
        ),
        "nnet1": ("SGD, 440-512x3-157, sigmoid, minibatch 256", lambda folder: nnet1(kaldi, folder)),
        "rbm": ("CD-1, 440-512, minibatch 100", lambda folder: rbm(kaldi, folder)),
        "decoding": ("decoding", lambda folder: decoding(kaldi, folder, *given, args.utterances)),
    }
    chosen = args.only.split(",") if args.only else [name for name in parts if name != "decoding" or all(given)]
    figures = Figures(args.figures, "kaldi")
    try:
        if wrong := set(chosen) - parts.keys():
            raise ValueError(f"--only {min(wrong)}: expected of {', '.join(parts)}")
        if "decoding" in chosen and not all(given):
            raise ValueError("decoding: expected --graph, --model and --feats")
        for title, make in (parts[name] for name in chosen):
            with tempfile.TemporaryDirectory() as folder:
                found = speeds(make(Path(folder)), args.turns)
            figures.add(title, {name: statistics.median(values) for name, values in found.items()})
            print(f"\n| {title} | frames/s | x Kaldi's (turns) |\n|---|--:|--:|", *rows(found), sep="\n", flush=True)
    except ValueError as error:
        parser.exit(2, f"kaldi.py: {error}\n")


if __name__ == "__main__":
    main()
