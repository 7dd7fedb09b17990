"""The final model as Kaldi makes it: a mean of the last models, as many of them as do best on held-out data.

Kaldi nnet3-combine keeps a running mean from the newest model backwards and takes the best of them.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from asr_parallel.record.files import whole_file
from asr_parallel.record.log import logger

NAME = "parameters"


def snapshot_frames(total_frames: int, frames_per_epoch: int, num_models: int) -> list[int]:
    """When to keep a model for the combination, in frames trained on: the last time at the very end.

    Equal steps over the last half epoch, or the last half of a training shorter than an epoch (Kaldi
    steps/libs/nnet3/train/common.py combines half an epoch's iterations, at most half of all).
    """
    window = min(frames_per_epoch, total_frames) // 2
    moments = {total_frames - window * k // num_models for k in range(num_models)}
    return sorted(moments)


def write_model(path: Path, parameters: Tensor) -> None:
    """Keep (P,) parameters in a file, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_bytes(save({NAME: parameters.detach().cpu().clone()}))


def combine(models: Sequence[Path], evaluate: Callable[[Tensor], float]) -> tuple[Tensor, int, list[float]]:
    """Choose how many of the last models to average.

    Beside what `evaluate` needs, three buffers of the parameters' size are held, one of them in float64.

    Args:
        models: files of write_model, the newest first, at least one.
        evaluate: held-out loss of (P,) parameters.

    Returns:
        The best mean, how many models are in it, and the loss of the mean of the last 1, 2, ... models.

    Raises:
        ValueError: a file is damaged, or of another size.
    """
    best, best_count, best_loss, losses = torch.empty(0), 0, math.inf, list[float]()
    total: Tensor | None = None
    count = 0
    for path in models:
        model = _read(path)
        if not bool(model.isfinite().all()):
            logger.warning("%s: has parameters that are not finite; left out of the combination", path)
            continue
        total = torch.zeros_like(model, dtype=torch.float64) if total is None else total
        if model.shape != total.shape:
            raise ValueError(f"{path}: {len(model)} parameters; expected {len(total)}")
        total += model
        count += 1
        mean = torch.div(total, count, out=model)
        losses.append(evaluate(mean))
        if not best_count or losses[-1] < best_loss:
            best, best_count = mean, count
            best_loss = losses[-1] if math.isfinite(losses[-1]) else math.inf
        del model, mean  # not held while the next one is read
    if not best_count:
        raise ValueError(f"none of the {len(models)} models to combine is finite")
    return best, best_count, losses


def _read(path: Path) -> Tensor:
    try:
        return load_file(path)[NAME]
    except (SafetensorError, KeyError, OSError) as error:
        raise ValueError(f"{path}: not a model kept for the combination: {error}") from error
