"""Stage 5: a stack of RBMs in a folder, each layer in one of its own that is made once, and the network it begins.

OUT/1/rbm.safetensors       weight (H, V), hidden_bias (H,), visible_bias (V,) float32
OUT/1/train.jsonl
OUT/1/stage.json            also of OUT/2, which depends on OUT/1, and so on
OUT/1.training/             checkpoints of a layer that is not finished
"""

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.rbm import RbmSpec, StackedRbm
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import read_json, write_json
from asr_parallel.record.log import logger
from asr_parallel.record.stage import check_inputs_unchanged, fingerprint, run_stage
from asr_parallel.report.filters import plot_filters
from asr_parallel.training.precision import choose_device, products_dtype
from asr_parallel.training.pretrain import LINES, LayerTrainer, PretrainOptions, Stack, identity_of

TENSORS, IDENTITY = "rbm.safetensors", "training.json"


def pretrain(frames: Path, out: Path, options: PretrainOptions, report_frames: int, checkpoint_frames: int) -> None:
    """Train the layers that are not there yet, each from its newest checkpoint if it has one.

    Raises:
        ValueError: bad options or data, or a layer that diverged or collapsed.
    """
    check_inputs_unchanged(frames)
    out.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device)
    dtype = products_dtype(options.precision, device)
    store: FrameStore | None = None
    below: list[StackedRbm] = []
    for layer in range(options.layers):
        folder, work = out / str(layer + 1), out / f"{layer + 1}.training"
        inputs = {"frames": frames} | ({"below": out / str(layer)} if layer else {})
        identity = {"options": identity_of(options, layer), "inputs": {k: fingerprint(v) for k, v in inputs.items()}}

        def build(new: Path, work: Path = work, identity: dict = identity) -> None:
            nonlocal store
            store = store or FrameStore.open(frames)
            trainer = LayerTrainer(store, options, Stack(below), work)
            same = (work / IDENTITY).is_file() and read_json(work / IDENTITY) == identity
            checkpoint = trainer.checkpoints.newest() if same else None
            if checkpoint is None:
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                write_json(work / IDENTITY, identity)
            else:
                logger.info("%s: going on after %d frames", work, checkpoint.frames)
                trainer.resume(checkpoint)
            parts = trainer.run(report_frames, checkpoint_frames).parts
            named = {"weight": parts.weight, "hidden_bias": parts.hidden_bias, "visible_bias": parts.visible_bias}
            (new / TENSORS).write_bytes(save({name: part[0].cpu().contiguous() for name, part in named.items()}))
            shutil.copyfile(work / LINES, new / LINES)
            if trainer.rbm.spec.gaussian:
                plot_filters(parts.weight[0].cpu().numpy(), store.dim, new / "filters.png")

        run_stage(folder, build, number=5, inputs=inputs, options=identity["options"])
        shutil.rmtree(work, ignore_errors=True)
        weight, hidden_bias, visible_bias = read_layer(folder)
        rbm = StackedRbm(RbmSpec(weight.shape[1], weight.shape[0], layer == 0), 1, device, dtype)
        for part, value in zip((rbm.parts.weight, rbm.parts.hidden_bias, rbm.parts.visible_bias),
                               (weight, hidden_bias, visible_bias), strict=True):  # fmt: skip
            part.copy_(value)
        rbm.parameters_changed()
        below.append(rbm)


def read_layer(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """weight (H, V), hidden_bias (H,), visible_bias (V,) float32; ValueError when they are not there or do not fit."""
    try:
        found = load((folder / TENSORS).read_bytes())
        weight, hidden_bias, visible_bias = (found[name] for name in ("weight", "hidden_bias", "visible_bias"))
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a finished layer of stage 5: {error}") from error
    if weight.shape != (*hidden_bias.shape, *visible_bias.shape) or not all(t.isfinite().all() for t in found.values()):
        raise ValueError(f"{folder / TENSORS}: sizes that do not fit together, or numbers that are not finite")
    return weight, hidden_bias, visible_bias


def hand_over(stack: Path, network: StackedNetwork) -> None:
    """Put the weights and hidden biases of a stack in a folder into the hidden layers of a network, in every replica.

    The output layer stays as `initialise` drew it for sigmoids: as Kaldi nnet1 draws the softmax layer.

    Raises:
        ValueError: the network's units are not sigmoids, or its sizes are not the stack's.
    """
    if network.spec.nonlinearity != "sigmoid":
        raise ValueError(f"nonlinearity {network.spec.nonlinearity}: a stack of RBMs begins a network of sigmoids")
    for layer in range(network.spec.hidden_layers):
        folder = stack / str(layer + 1)
        weight, bias, _ = read_layer(folder)
        expected = network.layers.weights[layer].shape[1:]
        if weight.shape != expected:
            raise ValueError(
                f"{folder}: a layer of {tuple(weight.shape)} (out, in); the network's is {tuple(expected)}"
            )
        with torch.no_grad():
            network.layers.weights[layer].copy_(weight)
            network.layers.biases[layer].copy_(bias)
    network.parameters_changed()
