"""The workers' own models at the end of a training, each a network that decodes, and all together as one."""

from pathlib import Path

import numpy as np
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import save_ensemble
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.parallel.exchange import every_model
from asr_parallel.parallel.worker_group import WorkerGroup
from asr_parallel.record.files import write_json
from asr_parallel.record.log import logger
from asr_parallel.training.evaluation import WorkersScore
from asr_parallel.training.export_model import export_model
from asr_parallel.training.options import TrainingOptions

ENSEMBLE = "ensemble"  # folder in that of a network, or of an unfinished training
HELD_OUT = "held_out.json"


def keep_members(
    folder: Path,
    network: StackedNetwork,
    score: WorkersScore,
    group: WorkerGroup,
    store: FrameStore,
    options: TrainingOptions,
    train_part: np.ndarray,
    held_out_rows: np.ndarray,
) -> Tensor:
    """Write every worker's model and what all together are to a folder, in rank 0. Called by all processes alike.

    The models come by one after the other. Not a model of an average, and none without a finite loss.

    Args:
        score: of Evaluator.of_workers.

    Returns:
        (P,) of the best worker.
    """
    workers = [worker for worker, of_one in enumerate(score.workers) if np.isfinite(of_one.loss)]
    best, priors = network.parameters[0], []
    for worker, model in every_model(group, network.parameters, workers):
        if worker == score.best:
            best = model.clone()
        if group.is_main:
            member = export_model(model, network, [], store, options, train_part, held_out_rows)
            (folder / str(worker)).mkdir(parents=True, exist_ok=True)
            member.save(folder / str(worker))
            priors.append(member.log_prior)
    if group.is_main:
        save_ensemble(folder, workers, options.final_model.ensemble_average, priors)
        numbers = {str(worker): score.workers[worker] for worker in workers} | {"all": score.ensemble}
        write_json(folder / HELD_OUT, {n: {"loss": s.loss, "accuracy": s.accuracy} for n, s in numbers.items()})
        left_out = [str(worker) for worker in range(group.num_workers) if worker not in workers]
        if left_out:
            logger.warning(
                "no part of the ensemble, as model or held-out loss is not finite: worker %s", ", ".join(left_out)
            )
        losses = [score.workers[worker].loss for worker in workers]
        logger.info(
            "workers: held-out loss %.4f at best (worker %d), %.4f in the mean; all together %.4f, accuracy %.2f %%",
            min(losses), score.best, float(np.mean(losses)), score.ensemble.loss, 100 * score.ensemble.accuracy,
        )  # fmt: skip
    return best
