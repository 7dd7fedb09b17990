"""The network as it is before the first minibatch."""

from collections.abc import Sequence
from pathlib import Path

import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.pretraining.rbm_stack import load_rbm_weights
from asr_parallel.training.options import TrainingOptions
from asr_parallel.training.randomness import initial_seeds
from asr_parallel.training.teacher import start_from


def begin(
    options: TrainingOptions,
    store: FrameStore,
    workers: Sequence[int],
    stack: Path | None,
    device: torch.device,
    dtype: torch.dtype,
) -> StackedNetwork:
    """A replica for each of the workers: from random numbers, RBMs or a trained network, as the options say.

    Args:
        workers: of this process; one of them where they have a model in common.
        stack: folder of RBMs, with options.network.pretrain alone.

    Raises:
        ValueError: sizes out of range, or a folder that does not fit.
    """
    spec = options.network_spec(store.dim, store.context, store.num_pdfs)
    seeds = [options.data.seed] if options.network.initial == "shared" else initial_seeds(options.data.seed, workers)
    network = StackedNetwork(spec, len(workers), device, dtype).initialise(*seeds)
    if (stack is None) != (options.network.pretrain == "none"):
        raise ValueError("a folder of RBMs is needed for pretrain rbm, and for nothing else")
    if stack is not None:
        load_rbm_weights(stack, network)
    if options.network.start is not None:
        start_from(Path(options.network.start), store, network)
    return network
