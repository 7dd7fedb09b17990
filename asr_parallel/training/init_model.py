"""The network before the first minibatch."""

from collections.abc import Sequence
from pathlib import Path

import torch

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.rbm_stack import load_rbm_weights
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.training.options import TrainingOptions
from asr_parallel.training.randomness import initial_seeds


def init_model(
    options: TrainingOptions,
    store: FrameStore,
    workers: Sequence[int],
    stack: Path | None,
    device: torch.device,
    dtype: torch.dtype,
) -> StackedNetwork:
    """Return a replica for each worker: of random numbers, RBMs or a trained network, as the options say.

    Args:
        workers: of this process; one of them where they share a replica.
        stack: folder of RBMs, if and only if options.network.pretrain says so.

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


def check_fits(folder: Path, network: Network, store: FrameStore) -> None:
    """Raise ValueError when a network was trained on frames of another kind than a store's, or for other pdfs."""
    mine = (network.spec.input_dim, network.spec.num_pdfs, network.feature_config)
    expected = (store.spliced_dim, store.num_pdfs, store.feature_config)
    for name, own, wanted in zip(("spliced dimensions", "pdfs", "features"), mine, expected, strict=True):
        if own != wanted:
            raise ValueError(f"{folder}: a network of {own} {name}; expected {wanted}, as in the frame store")
    if network.normalisation != store.normalisation:
        raise ValueError(f"{folder}: its normalisation is not the frame store's; expected the same")


def start_from(folder: Path, store: FrameStore, network: StackedNetwork) -> None:
    """Give all replicas the parameters of a trained network; ValueError when it is of other shape or other frames."""
    trained = Network.open(folder)
    check_fits(folder, trained, store)
    if trained.spec != network.spec:
        raise ValueError(f"{folder}: a network of {trained.spec}; expected {network.spec}, as the options say")
    network.parameters.copy_(trained.net.parameters)
    network.parameters_changed()
