"""Stage 5: a stack of RBMs in a folder, each layer in one of its own that is made once.

OUT/1/rbm.safetensors       weight (H, V), hidden_bias (H,), visible_bias (V,) float32
OUT/1/train.jsonl
OUT/1/stage.json            also of OUT/2, which depends on OUT/1, and so on
OUT/1.training/             checkpoints of a layer that is not finished
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save

from asr_parallel import __version__
from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.precision import choose_device, choose_dtype
from asr_parallel.nnet.rbm import StackedRbm
from asr_parallel.nnet.rbm_parts import RbmSpec
from asr_parallel.nnet.rbm_stack import TENSORS, read_layer
from asr_parallel.parallel.group_stage import agree, together
from asr_parallel.parallel.transport import SingleProcess, Transport
from asr_parallel.pretraining.rbm_metrics import LINES, Stack
from asr_parallel.pretraining.rbm_options import PretrainOptions, identity_of
from asr_parallel.pretraining.rbm_plots import plot_filters, plot_layers
from asr_parallel.pretraining.rbm_trainer import LayerTrainer
from asr_parallel.record.files import resolve_links
from asr_parallel.record.stage import check_inputs_unchanged, fingerprint, run_stage
from asr_parallel.training.checkpoint import remove_work
from asr_parallel.training.work_folder import IDENTITY, checkpoint_in_errors, find_unfinished, resume_or_start

RATES = ("rate_gaussian", "rate_bernoulli")  # options that a layer may be gone on with that had others


def pretrain(
    frames: Path,
    out: Path,
    options: PretrainOptions,
    report_frames: int,
    checkpoint_frames: int,
    transport: Transport | None = None,
    resume: bool | None = None,
) -> None:
    """Train the layers that are not there yet, each from its newest checkpoint if it has one.

    Args:
        out: folder of the stack; beside its layers it gets curves.png.
        transport: of the processes that share the workers; all of them call this alike.
        resume: for the first layer that is not there yet. True: only go on with it, perhaps with other learning rates,
            False: start it anew, None: go on if it has a checkpoint of these options; that of others is kept aside.

    Raises:
        ValueError: bad options or data, nothing to go on with, or a layer that diverged or collapsed.
        Interrupted: by a signal.
    """
    transport = transport or SingleProcess()
    paths = {"frames": str(frames), "out": str(out)}
    periods = {"report_frames": report_frames, "checkpoint_frames": checkpoint_frames}
    agree(transport, {"version": __version__, **asdict(options), **paths, **periods, "resume": resume})
    if transport.rank == 0:
        check_inputs_unchanged(frames)
    store = FrameStore.open(frames)
    if transport.rank == 0:
        resolve_links(out).mkdir(parents=True, exist_ok=True)
    below: list[StackedRbm] = []
    for layer in range(options.layers):
        folder, work = out / str(layer + 1), resolve_links(out / f"{layer + 1}.training")
        inputs = {"frames": frames} | ({"below": out / str(layer)} if layer else {})
        identity = identity_of(options, layer)

        def build(new: Path | None, work: Path = work, inputs: dict[str, Path] = inputs, layer: int = layer) -> None:
            given = {"version": __version__, "options": identity_of(options, layer)}
            given["inputs"] = {name: fingerprint(path) for name, path in inputs.items()}
            trainer = LayerTrainer(store, options, Stack(below), work, transport)
            nonlocal resume
            going_on = transport.broadcast_object(not transport.rank and find_unfinished(work, given, resume, RATES))
            resume_or_start(trainer, going_on, resume, given, RATES)
            resume = None
            with checkpoint_in_errors(
                trainer.checkpoints, trainer.batches.frames_per_epoch, RATES[:1] if not layer else RATES[1:]
            ):
                rbm = trainer.run(report_frames, checkpoint_frames)
            if new is not None:
                _write(rbm, store, new)
                for name in (LINES, IDENTITY):
                    shutil.copyfile(work / name, new / name)

        def stage(
            build: Callable[[Path], None],
            folder: Path = folder, work: Path = work, inputs: dict[str, Path] = inputs, identity: Any = identity,
        ) -> None:  # fmt: skip
            run_stage(folder, build, number=5, inputs=inputs, options=identity, finish=lambda: remove_work(work))

        together(transport, stage, build)
        below.append(_read(folder, options, gaussian=layer == 0))
    if transport.rank == 0:
        plot_layers([out / str(layer + 1) / LINES for layer in range(options.layers)], out / "curves.png")


def _write(rbm: StackedRbm, store: FrameStore, folder: Path) -> None:
    parts = rbm.parts
    named = {"weight": parts.weight, "hidden_bias": parts.hidden_bias, "visible_bias": parts.visible_bias}
    (folder / TENSORS).write_bytes(save({name: part[0].cpu().contiguous() for name, part in named.items()}))
    if rbm.spec.gaussian:
        plot_filters(parts.weight[0].cpu().numpy(), store.dim, folder / "filters.png")


def _read(folder: Path, options: PretrainOptions, gaussian: bool) -> StackedRbm:
    """Return a finished layer as an RBM of one replica."""
    weight, hidden_bias, visible_bias = read_layer(folder)
    device = choose_device(options.device)
    dtype = choose_dtype(options.precision, device)
    rbm = StackedRbm(RbmSpec(weight.shape[1], weight.shape[0], gaussian), 1, device, dtype)
    rbm.parts.weight.copy_(weight)
    rbm.parts.hidden_bias.copy_(hidden_bias)
    rbm.parts.visible_bias.copy_(visible_bias)
    rbm.parameters_changed()
    return rbm
