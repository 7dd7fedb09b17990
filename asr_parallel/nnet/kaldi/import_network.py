"""Import of Kaldi's networks as network folders, for a frame store to train on or for features to decode.

Kaldi's network reads features as apply-cmvn gives them. Those of a frame store are normalised further; this is undone
in the first affine component, so that the outputs are Kaldi's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.config import cmvn_of, feature_config
from asr_parallel.features.frames import FrameStore
from asr_parallel.features.kaldi_features import read_cmvn_opts
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.hmm.kaldi.export_system import CMVN_OPTS
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.nnet.components import Splice
from asr_parallel.nnet.kaldi.nnet1_reader import read_nnet1
from asr_parallel.nnet.kaldi.nnet3_reader import read_nnet3
from asr_parallel.nnet.kaldi.parts import Linear, Part, assemble
from asr_parallel.nnet.network import NEVER_CHOSEN, Network, log_priors
from asr_parallel.nnet.spec import NetworkSpec
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.log import logger

TRANSFORM, COUNTS = "final.feature_transform", "ali_train_pdf.counts"
NO_NORMALISATION = (False, False)


@dataclass(frozen=True)
class KaldiNetwork:
    """A network as its file has it, feature transform included. log_prior (num_pdfs,): None where it has none."""

    path: Path
    frame_dim: int
    parts: list[Part]
    log_prior: np.ndarray | None

    @classmethod
    def read(cls, path: Path, transform: Path | None, counts: Path | None) -> "KaldiNetwork":
        """Read a final.raw or final.mdl of nnet3, or a final.nnet of nnet1.

        Args:
            path: the network.
            transform: the feature transform of an nnet1; None: final.feature_transform beside it, if it is there.
            counts: class frame counts; None: ali_train_pdf.counts beside an nnet1, if it is there.

        Raises:
            ValueError: a file is missing or malformed, or the network has components of unknown kinds.
        """
        reader = _open(path)
        if reader.peek() not in ("<Nnet>", "<Nnet3>", "<TransitionModel>"):
            reader.fail("<Nnet> of nnet1, or <Nnet3> or <TransitionModel> of nnet3")
        if reader.peek() != "<Nnet>":
            if transform is not None:
                raise ValueError(f"--feature-transform is of no use to {path}, of nnet3; expected it with nnet1")
            of_model = reader.peek() == "<TransitionModel>"
            if of_model:
                KaldiTransitionModel.begin(reader, path)
            net = read_nnet3(reader, of_model)
            return cls(
                path, net.frame_dim, net.parts, _nnet3_priors(net.priors, path) if counts is None else _priors(counts)
            )
        transform = transform or _beside(path, TRANSFORM)
        counts = counts or _beside(path, COUNTS)
        frame_dim, parts = read_nnet1(reader)
        if transform is not None:
            frame_dim, first = read_nnet1(_open(transform), transform=True)
            parts = first + parts
        return cls(path, frame_dim, parts, None if counts is None else _priors(counts))

    def network(
        self,
        normalisation: Normalisation,
        context: int | None,
        config: dict[str, Any],
        default_prior: np.ndarray | None,
    ) -> Network:
        """Return the network for features of a normalisation.

        Args:
            normalisation: of the features, after Kaldi's apply-cmvn.
            context: frames on either side in a window; None: as many as the network sees.
            config: the feature_config.
            default_prior: log priors where the network's files have none.

        Raises:
            ValueError: sizes that do not fit together, or no priors.
        """
        if self.frame_dim != config["dim"]:
            raise ValueError(f"{self.path}: a network of {self.frame_dim} features a frame; expected {config['dim']}")
        scale = np.array(normalisation.scale)
        mean = np.zeros(len(scale)) if normalisation.mean is None else np.array(normalisation.mean)
        try:
            components, affines = assemble([Linear(1 / scale, mean), *self.parts], self.frame_dim)
            if context is None:
                context = _context(components)
            spec = NetworkSpec(self.frame_dim, context, components)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        log_prior = default_prior if self.log_prior is None else self.log_prior
        if log_prior is None:
            raise ValueError(f"{self.path}: no priors; expected --class-counts, or a frame store to count them in")
        if len(log_prior) != spec.num_pdfs:
            raise ValueError(f"{self.path}: a network of {spec.num_pdfs} pdfs; its priors are of {len(log_prior)}")
        network = Network(StackedNetwork(spec), log_prior.astype(np.float32), normalisation, config)
        tensors = network.tensors()
        for k, affine in enumerate(affines):
            weight = np.diag(affine.weight) if affine.weight.ndim == 1 else affine.weight
            tensors[f"affine{k}.weight"].copy_(torch.from_numpy(weight))
            tensors[f"affine{k}.bias"].copy_(torch.from_numpy(affine.bias))
        return network

    def cmvn(self) -> tuple[bool, bool] | None:
        """Return whether apply-cmvn normalises means and variances, as cmvn_opts beside it says; None without one."""
        path = _beside(self.path, CMVN_OPTS)
        return None if path is None else read_cmvn_opts(path)


def import_for_store(source: KaldiNetwork, frames: Path, folder: Path) -> None:
    """Write the network into `folder`, for `train-dnn --start` on a frame store; its labels give missing priors.

    Raises:
        ValueError: the frame store is of other sizes, or normalised in another way.
    """
    store = FrameStore.open(frames)
    cmvn = cmvn_of(store.feature_config)
    here = _done(cmvn) if cmvn != "none" else (store.normalisation.mean is None, store.normalisation.norm_vars)
    _check_cmvn(source, frames, here)
    counts = np.bincount(store.labels[store.labels >= 0], minlength=store.num_pdfs)
    made = source.network(store.normalisation, store.context, store.feature_config, log_priors(counts))
    if made.spec.num_pdfs != store.num_pdfs:
        raise ValueError(
            f"{source.path}: a network of {made.spec.num_pdfs} pdfs; expected {store.num_pdfs}, as in {frames}"
        )
    _save(made, folder)


def import_for_features(source: KaldiNetwork, feats: Path, folder: Path) -> None:
    """Write the network into `folder`, for `decode` of features such as those of an archive.

    Raises:
        ValueError: the features are of other sizes, or normalised in another way.
    """
    archive = FeatureArchive.open(feats)
    config = feature_config(feats, archive)
    cmvn = cmvn_of(config)
    means, variances = source.cmvn() or NO_NORMALISATION
    if cmvn != "none":
        _check_cmvn(source, feats, _done(cmvn))
        means, variances = NO_NORMALISATION
    if variances and not means:
        raise ValueError(f"{source.path.parent / CMVN_OPTS}: variances without means; Kaldi has no such normalisation")
    zeros, ones = (0.0,) * archive.dim, (1.0,) * archive.dim
    normalisation = Normalisation(config["kind"], variances, ones, None if means else zeros)
    _save(source.network(normalisation, None, config, None), folder)


def _save(network: Network, folder: Path) -> None:
    network.save(folder)
    logger.info("a network of %s", network.spec)


def _done(cmvn: str) -> tuple[bool, bool]:
    """Return whether imported features have normalised means, and variances."""
    return True, cmvn == "mean-var"


def _check_cmvn(source: KaldiNetwork, features: Path, here: tuple[bool, bool]) -> None:
    wanted = source.cmvn()
    if wanted not in (None, here):
        names = [" ".join(f"{name} {done}".lower() for name, done in zip(("means", "variances"), both, strict=True))
                 for both in (wanted, here)]  # fmt: skip
        raise ValueError(
            f"{source.path.parent / CMVN_OPTS}: features normalised per speaker: {names[0]}; in {features}: {names[1]}"
        )


def _context(components: tuple[Any, ...]) -> int:
    spliced = [component.offsets for component in components if isinstance(component, Splice)]
    return max(0, -sum(offsets[0] for offsets in spliced), sum(offsets[-1] for offsets in spliced))


def _nnet3_priors(priors: np.ndarray, path: Path) -> np.ndarray | None:
    """Return log priors of the vector of a final.mdl, as Kaldi takes it; None for an empty one."""
    if not len(priors):
        return None
    if not (priors >= 0).all():
        raise ValueError(f"{path}: expected priors of 0 or more")
    never = (priors <= 0) | (priors >= np.finfo(np.float32).max)  # what export-kaldi writes of pdfs never seen
    return np.where(never, NEVER_CHOSEN, np.log(np.where(never, 1, priors)))


def _priors(path: Path) -> np.ndarray:
    """Return log priors of class frame counts."""
    counts = _open(path).reals()
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.sum() > 0):
        raise ValueError(f"{path}: expected counts of frames, 0 or more, not all of them 0")
    return log_priors(counts)


def _beside(path: Path, name: str) -> Path | None:
    found = path.parent / name
    return found if found.is_file() else None


def _open(path: Path) -> ObjectReader:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected one of Kaldi's")
    return ObjectReader(path)
