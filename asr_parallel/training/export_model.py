"""From the last models of a training to the network that is delivered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.log import logger
from asr_parallel.training.combine import combine
from asr_parallel.training.evaluation import evaluate, mean_posterior
from asr_parallel.training.options import TrainingOptions

COMBINE_FRAMES = 60_000  # Kaldi steps/nnet3/get_egs.sh, num_train_frames_combine; here of held-out data
PRIOR_FRAMES = 20_000  # Kaldi steps/nnet3/train_dnn.py, prior-subset-size


def export_model(
    last: Tensor,
    like: StackedNetwork,
    newest_first: Sequence[Path],
    store: FrameStore,
    options: TrainingOptions,
    train_part: np.ndarray,
    held_out_rows: np.ndarray,
) -> Network:
    """The last model, or the mean of as many of the last ones as do best; with its priors; float32, on the CPU.

    Args:
        last: (P,) model.
        like: a network of its kind, on the device to work on.
        newest_first: files of models, the last one first; none: no mean.
        train_part: utterances trained on, for the priors.
        held_out_rows: frames by which the number of models is chosen.
    """
    final = StackedNetwork(like.spec, device=like.device)
    final.parameters[0].copy_(last)
    if newest_first:
        every = -(-len(held_out_rows) // COMBINE_FRAMES)

        def held_out_loss(parameters: Tensor) -> float:
            final.parameters[0].copy_(parameters)
            return evaluate(final, store, held_out_rows[::every]).loss

        best, count, losses = combine(newest_first, held_out_loss)
        final.parameters[0].copy_(best)
        logger.info(
            "final model: mean of the last %d of %d, held-out loss %.4f (last alone %.4f)",
            count, len(newest_first), min(losses), losses[0],
        )  # fmt: skip
    rows = store.rows_of(train_part)
    if options.final_model.prior == "posterior":
        some = np.random.default_rng(options.data.seed).permutation(rows)[:PRIOR_FRAMES]
        prior = log_priors(mean_posterior(final, store, np.sort(some)))
    else:
        prior = log_priors(np.bincount(store.labels[rows], minlength=store.num_pdfs))
    delivered = StackedNetwork(like.spec)
    delivered.parameters.copy_(final.parameters)
    return Network(delivered, prior, store.normalisation, store.feature_config)
