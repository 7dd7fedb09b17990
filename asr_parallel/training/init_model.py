"""The network before the first minibatch, and the trained ones whose posteriors it learns, if any."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE, EnsembleNetwork
from asr_parallel.nnet.network import Network
from asr_parallel.nnet.objectives import Soft
from asr_parallel.nnet.outputs import Outputs
from asr_parallel.nnet.rbm_stack import load_rbm_weights
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.training.minibatches import Purpose, counted_seed
from asr_parallel.training.train_options import TrainingOptions


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


def initial_seeds(seed: int, workers: Sequence[int]) -> list[int]:
    """Return seeds of workers that start apart; worker 0 has that of a single worker."""
    mixed = [int(counted_seed(seed, Purpose.INITIAL, worker).generate_state(1, np.uint32)[0]) for worker in workers]
    return [own if worker else seed for worker, own in zip(workers, mixed, strict=True)]


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


class Teacher:
    """Distillation (Hinton, Vinyals & Dean, arXiv 1503.02531): the loss is CE(labels) + lambda CE(teacher).

    name         symbol
    weight       lambda
    temperature  T       see nnet/stacked.py, Soft

    Compressing an ensemble into one network of its members' size is the last step of EC-DNN (Sun et al., arXiv
    1606.00575), done once.
    """

    def __init__(
        self,
        folder: Path,
        store: FrameStore,
        weight: float,
        temperature: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Open the networks.

        Args:
            folder: of a network or an ensemble.
            store: of the frames to be labelled.
            dtype: of matrix products, and of the frames.

        Raises:
            ValueError: there is neither, or it is for other frames or pdfs.
        """
        if (folder / ENSEMBLE_FILE).is_file():
            ensemble = EnsembleNetwork.open(folder)
            members, average = ensemble.members, ensemble.outputs.average
        else:
            members, average = [Network.open(folder)], "posterior"
        check_fits(folder, members[0], store)
        self._networks = StackedNetwork(members[0].spec, len(members), device, dtype)
        self._networks.parameters.copy_(torch.cat([member.net.parameters for member in members]))
        self._networks.parameters_changed()
        self._outputs, self._weight = Outputs(average, temperature), weight

    def soft(self, spliced: Tensor) -> Soft:
        """Return soft targets of (R, B, input_dim) frames."""
        replicas, rows = spliced.shape[:2]
        frames = spliced.flatten(0, 1).expand(self._networks.replicas, -1, -1)
        mean = self._outputs.of_one(self._networks.logits(frames)).mean(dim=0)
        posterior = self._outputs.posterior(mean).view(replicas, rows, -1)
        return Soft(posterior, self._weight, self._outputs.temperature)
