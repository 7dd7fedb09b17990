"""The final network: a mean of the last models, as many of them as do best on held-out data; and each worker's own.

Kaldi nnet3-combine keeps a running mean from the newest model backwards and takes the best of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import save_ensemble
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.worker_group import WorkerGroup, every_model
from asr_parallel.record.files import atomic_file, write_json
from asr_parallel.record.log import logger
from asr_parallel.training.evaluation import WorkersScore, evaluate, mean_posterior
from asr_parallel.training.hooks import Hook, TrainingStep
from asr_parallel.training.option_groups import COMBINE_EPOCHS
from asr_parallel.training.train_options import TrainingOptions

COMBINE_FRAMES = 60_000  # Kaldi steps/nnet3/get_egs.sh, num_train_frames_combine; here of held-out data
PRIOR_FRAMES = 20_000  # Kaldi steps/nnet3/train_dnn.py, prior-subset-size
ENSEMBLE = "ensemble"  # folder in that of a network, or of an unfinished training
HELD_OUT = "held_out.json"
NAME = "parameters"


def snapshot_frames(
    total_frames: int, frames_per_epoch: int, num_models: int, epochs: float = COMBINE_EPOCHS
) -> list[int]:
    """Return when to keep a model for the combination, in frames trained on: the last one at the very end.

    Equal steps over the last half epoch, or the last half of a training shorter than an epoch (Kaldi
    steps/libs/nnet3/train/common.py combines half an epoch's iterations, at most half of all). With one model an epoch
    it is latest-weight averaging (LAWA: Kaddour, "Stop wasting my time! Saving days of ImageNet and BERT training with
    latest weight averaging", arXiv 2209.14981), but that fewer models than asked for are taken where these do better.

    Args:
        epochs: over which the models are spread.
    """
    window = min(int(epochs * frames_per_epoch), total_frames // 2)
    moments = {total_frames - window * k // num_models for k in range(num_models)}
    return sorted(moments)


def write_model(path: Path, parameters: Tensor) -> None:
    """Write (P,) parameters to a file, whole or not at all."""
    with atomic_file(path) as temp:
        temp.write_bytes(save({NAME: parameters.detach().cpu().clone()}))


class LastModels(Hook):
    """The last models of a training, kept in files for `combine`."""

    def __init__(self, folder: Path, moments: list[int], model: Callable[[], Tensor], is_main: bool) -> None:
        """Take what to keep.

        Args:
            moments: frames after which to keep a model.
            model: the global model. Collective.
        """
        self._folder, self._moments, self._model, self._is_main = folder, moments, model, is_main

    @property
    def newest_first(self) -> list[Path]:
        """Files of all the models."""
        return [self._file(moment) for moment in reversed(self._moments)]

    def due(self, step: TrainingStep) -> bool:
        return any(step.before < moment <= step.frames for moment in self._moments)

    def on_batch(self, step: TrainingStep) -> None:
        for moment in self._moments:
            if step.before < moment <= step.frames:
                model = self._model()
                if self._is_main:
                    write_model(self._file(moment), model)

    def _file(self, moment: int) -> Path:
        return self._folder / f"{moment:012d}.safetensors"


def combine(models: Sequence[Path], evaluate: Callable[[Tensor], float]) -> tuple[Tensor, int, list[float]]:
    """Choose how many of the last models to average.

    Three buffers of the parameters' size are held, one of them in float64.

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


@dataclass(frozen=True)
class Exporter:
    """Makes networks that decode from the models of a training.

    network: of the same kind, on the device to work on; its replicas are the workers.
    train_part: utterances trained on, for the priors.
    held_out_rows: frames by which the number of combined models is chosen.
    """

    network: StackedNetwork
    store: FrameStore
    options: TrainingOptions
    train_part: np.ndarray
    held_out_rows: np.ndarray

    def export_model(self, last: Tensor, newest_first: Sequence[Path] = ()) -> Network:
        """Return (P,) `last`, or the mean of as many last models as do best, with priors; float32, on the CPU.

        Args:
            newest_first: files of models, the last one first; none: no mean.
        """
        final, store = StackedNetwork(self.network.spec, device=self.network.device), self.store
        final.parameters[0].copy_(last)
        if newest_first:
            every = -(-len(self.held_out_rows) // COMBINE_FRAMES)

            def held_out_loss(parameters: Tensor) -> float:
                final.parameters[0].copy_(parameters)
                return evaluate(final, store, self.held_out_rows[::every]).loss

            best, count, losses = combine(newest_first, held_out_loss)
            final.parameters[0].copy_(best)
            logger.info(
                "final model: mean of the last %d of %d, held-out loss %.4f (last alone %.4f)",
                count, len(newest_first), min(losses), losses[0],
            )  # fmt: skip
        rows = store.rows_of(self.train_part)
        if self.options.final_model.prior == "posterior":
            some = np.random.default_rng(self.options.data.seed).permutation(rows)[:PRIOR_FRAMES]
            prior = log_priors(mean_posterior(final, store, np.sort(some)))
        else:
            prior = log_priors(np.bincount(store.labels[rows], minlength=store.num_pdfs))
        exported = StackedNetwork(self.network.spec)
        exported.parameters.copy_(final.parameters)
        return Network(exported, prior, store.normalisation, store.feature_config)

    def export_workers(self, folder: Path, score: WorkersScore, group: WorkerGroup) -> Tensor:
        """Write every worker's model with a finite loss, and their ensemble, to a folder, in rank 0. Collective.

        Returns:
            (P,) of the best worker.
        """
        workers = [worker for worker, of_one in enumerate(score.workers) if np.isfinite(of_one.loss)]
        best, priors = self.network.parameters[0], []
        for worker, model in every_model(group, self.network.parameters, workers):
            if worker == score.best:
                best = model.clone()
            if group.is_main:
                member = self.export_model(model)
                (folder / str(worker)).mkdir(parents=True, exist_ok=True)
                member.save(folder / str(worker))
                priors.append(member.log_prior)
        if group.is_main:
            save_ensemble(folder, workers, self.options.final_model.ensemble_average, priors)
            numbers = {str(worker): score.workers[worker] for worker in workers} | {"all": score.ensemble}
            write_json(folder / HELD_OUT, {n: {"loss": s.loss, "accuracy": s.accuracy} for n, s in numbers.items()})
            left_out = [str(worker) for worker in range(group.num_workers) if worker not in workers]
            if left_out:
                logger.warning("not in the ensemble, as model or loss is not finite: worker %s", ", ".join(left_out))
            losses = [score.workers[worker].loss for worker in workers]
            logger.info(
                "workers: held-out loss %.4f at best (worker %d), mean %.4f; ensemble %.4f, accuracy %.2f %%",
                min(losses), score.best, float(np.mean(losses)), score.ensemble.loss, 100 * score.ensemble.accuracy,
            )  # fmt: skip
        return best
