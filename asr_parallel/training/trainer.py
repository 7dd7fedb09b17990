"""One worker, plain SGD: the baseline every other way of training is measured against."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from asr_parallel.features.frames import FrameStore
from asr_parallel.nnet.network import FeedForward, Network, NetworkSpec, log_priors
from asr_parallel.record.log import logger
from asr_parallel.record.progress import progress
from asr_parallel.training.channel import mask_filters, vary_channel
from asr_parallel.training.newbob import Newbob

EVALUATION_FRAMES = 8192  # forwarded at once when no gradient is needed

# Step per frame, for gradients summed over the minibatch as Kaldi sums them: a larger minibatch then learns as fast.
LEARNING_RATES = {
    "sigmoid": 0.008,  # Kaldi steps/nnet/train.sh
    "relu": 0.0003,  # Kaldi steps/nnet3/train_dnn.py, initial effective learning rate
}


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What decides the trained network, beside the data."""

    hidden_layers: int = 3
    hidden_dim: int = 512
    activation: str = "sigmoid"
    dropout: float = 0.0
    learning_rate: float | None = None  # per frame; LEARNING_RATES of the activation when not given
    minibatch: int = 256  # Kaldi steps/nnet/train.sh
    max_epochs: int = 20  # Kaldi steps/nnet/train_scheduler.sh
    halve_from: int | None = None  # see training/newbob.py
    held_out: float = 0.1  # Kaldi's 90/10 split
    held_out_by: str = "utterance"
    channel_tilt: float = 0.0  # see training/channel.py
    channel_ripple: float = 0.0
    mask_filters: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross-entropy (nats a frame) and share of frames whose best pdf is the label."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's line in the record. train is measured while the weights moved (with dropout)."""

    number: int
    learning_rate: float
    train: Score
    held_out: Score
    accepted: bool
    frames_per_second: float


def train(store: FrameStore, options: TrainingOptions) -> tuple[Network, list[Epoch]]:
    """Train on a frame store until the held-out loss stops falling.

    The same store, options and number of threads give the same network, bit for bit.

    Returns:
        The network of the best held-out loss, and what happened in each epoch.

    Raises:
        ValueError: options out of range, or too little data to hold some out.
    """
    _check(options)
    train_part, held_out_part = store.split(options.held_out, options.held_out_by, options.seed)
    rows, held_out_rows = store.rows_of(train_part), store.rows_of(held_out_part)
    if len(rows) < options.minibatch:
        raise ValueError(f"only {len(rows)} frames to train on, less than one minibatch of {options.minibatch}")
    spec = NetworkSpec(
        store.dim,
        store.context,
        options.hidden_layers,
        options.hidden_dim,
        store.num_pdfs,
        options.activation,
        options.dropout,
    )
    net = FeedForward(spec, options.seed)
    start = evaluate(net, store, held_out_rows)
    logger.info(
        "%d frames to train on, %d held out (%d utterances); loss %.4f before training",
        len(rows), len(held_out_rows), len(held_out_part), start.loss,
    )  # fmt: skip
    rate = LEARNING_RATES[options.activation] if options.learning_rate is None else options.learning_rate
    schedule = Newbob(rate, start.loss, halve_from=options.halve_from)
    best = copy.deepcopy(net.state_dict())
    order = np.random.default_rng(options.seed)
    epochs: list[Epoch] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # dropout and channels
        while len(epochs) < options.max_epochs and not schedule.finished:
            rate = schedule.learning_rate
            began = time.monotonic()
            on_train = _epoch(net, _minibatches(store, order.permutation(rows), options), len(rows), rate, options)
            seconds = time.monotonic() - began
            score = evaluate(net, store, held_out_rows)
            accepted = schedule.step(score.loss)
            if accepted:
                best = copy.deepcopy(net.state_dict())
            else:
                net.load_state_dict(best)
            epochs.append(Epoch(len(epochs) + 1, rate, on_train, score, accepted, len(rows) / seconds))
            _log(epochs[-1])
    net.load_state_dict(best)
    counts = np.bincount(store.labels[rows], minlength=store.num_pdfs)
    return Network(net.eval(), log_priors(counts), store.normalisation), epochs


def _check(options: TrainingOptions) -> None:
    """ValueError naming options that are out of range; the network's sizes and the split check their own."""
    if options.minibatch < 1 or options.max_epochs < 0:
        raise ValueError(f"minibatch {options.minibatch}, max_epochs {options.max_epochs}: expected positive numbers")
    if options.learning_rate is not None and not options.learning_rate > 0:
        raise ValueError(f"learning_rate {options.learning_rate}: expected a number above 0")
    for name in ("channel_tilt", "channel_ripple", "mask_filters", "seed"):
        if not getattr(options, name) >= 0:
            raise ValueError(f"{name} {getattr(options, name)}: expected a number of at least 0")


Batches = Iterator[tuple[Tensor, Tensor]]
"""Spliced frames (B, input_dim) float32 and pdf ids (B,) int64, minibatch after minibatch."""


def _epoch(net: FeedForward, batches: Batches, num_rows: int, rate: float, options: TrainingOptions) -> Score:
    """Go through the training data once."""
    net.train()
    parameters: list[Tensor] = list(net.parameters())
    loss_sum, correct, frames = 0.0, 0, 0
    for spliced, labels in progress(batches, "training", num_rows // options.minibatch, "minibatches"):
        logits = net(spliced)
        loss = cross_entropy(logits, labels, reduction="sum")
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-rate)
        loss_sum += loss.item()
        correct += int((logits.detach().argmax(dim=1) == labels).sum())
        frames += len(labels)
    return Score(loss_sum / max(1, frames), correct / max(1, frames))


def _minibatches(store: FrameStore, rows: np.ndarray, options: TrainingOptions) -> Batches:
    """Cut shuffled rows into minibatches. A last one that is not full is left out, as Kaldi leaves it out."""
    size = options.minibatch
    for start in range(0, len(rows) - size + 1, size):
        chosen = rows[start : start + size]
        spliced = torch.from_numpy(store.gather(chosen)).float()
        if options.channel_tilt or options.channel_ripple:
            spliced = vary_channel(spliced, store.dim, options.channel_tilt, options.channel_ripple)
        if options.mask_filters:
            spliced = mask_filters(spliced, store.dim, options.mask_filters)
        yield spliced, torch.from_numpy(store.labels[chosen].astype(np.int64))


def evaluate(net: FeedForward, store: FrameStore, rows: np.ndarray) -> Score:
    """Loss and accuracy of a network on some rows of a store."""
    net.eval()
    loss_sum, correct = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_FRAMES):
            chosen = rows[start : start + EVALUATION_FRAMES]
            logits = net(torch.from_numpy(store.gather(chosen)).float())
            labels = torch.from_numpy(store.labels[chosen].astype(np.int64))
            loss_sum += cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(dim=1) == labels).sum())
    return Score(loss_sum / max(1, len(rows)), correct / max(1, len(rows)))


def _log(epoch: Epoch) -> None:
    logger.info(
        "epoch %2d: learning rate %.3g, train loss %.4f accuracy %.2f %%, held-out loss %.4f accuracy %.2f %%%s, "
        "%.0f frames/s",
        epoch.number, epoch.learning_rate, epoch.train.loss, 100 * epoch.train.accuracy, epoch.held_out.loss,
        100 * epoch.held_out.accuracy, "" if epoch.accepted else " (rejected)", epoch.frames_per_second,
    )  # fmt: skip
