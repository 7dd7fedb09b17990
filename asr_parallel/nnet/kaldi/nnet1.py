"""A network in the format of Kaldi's nnet1 (Kaldi: src/nnet/nnet-nnet.cc, nnet-affine-transform.h, nnet-various.h).

The features' mean, scale and splice are the feature transform; per-speaker CMVN is not, as apply-cmvn does that. A ReLU
is a ParametricRelu of slopes 1 and 0. Renormalisation is a LengthNormComponent, to a length of 1, and a Rescale.
"""

from collections.abc import Mapping

import numpy as np

from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.nnet.components import TARGET_RMS, Affine, Component, Relu, Renorm, Sigmoid, Splice, Tanh
from asr_parallel.nnet.network import NEVER_CHOSEN, Network

TRAINED, FIXED = 1.0, 0.0  # factors on the learning rate


def write_feature_transform(out: ObjectWriter, network: Network) -> None:
    """Write what comes before the network: final.feature_transform."""
    normalisation, splice = network.normalisation, network.spec.components[0]
    assert isinstance(splice, Splice)
    dim = network.spec.frame_dim
    out.token("<Nnet>")
    out.line()
    if normalisation.mean is not None:
        _write_vector("<AddShift>", -np.array(normalisation.mean), out)
    _write_vector("<Rescale>", np.array(normalisation.scale), out)
    _begin("<Splice>", splice.output_dim(dim), dim, out)
    out.integers(splice.offsets)
    _end(out)
    out.token("</Nnet>")
    out.line()


def write_nnet1(out: ObjectWriter, network: Network) -> None:
    """Write the network: final.nnet. Its outputs are posteriors.

    Raises:
        ValueError: a network that nnet1 cannot hold.
    """
    out.token("<Nnet>")
    out.line()
    for placed in network.spec.placed_components[1:]:
        tensors = {name: tensor[0].numpy() for name, tensor in placed.views(network.net.parameters).items()}
        _write_component(placed.component, placed.input_dim, tensors, out)
    _write_plain("<Softmax>", network.spec.num_pdfs, out)
    out.token("</Nnet>")
    out.line()


def class_frame_counts(log_prior: np.ndarray) -> np.ndarray:
    """Return the priors (num_pdfs,) float64, of which nnet-forward makes `log_prior` again: 0 for a pdf never seen."""
    return np.where(log_prior < NEVER_CHOSEN, np.exp(np.minimum(log_prior, 0).astype(np.float64)), 0.0)


def _write_component(
    component: Component, input_dim: int, tensors: Mapping[str, np.ndarray], out: ObjectWriter
) -> None:
    if isinstance(component, Affine):
        _write_affine(tensors["weight"], tensors["bias"], out)
    elif isinstance(component, Sigmoid):
        _write_plain("<Sigmoid>", input_dim, out)
    elif isinstance(component, Tanh):
        _write_plain("<Tanh>", input_dim, out)
    elif isinstance(component, Relu):
        _write_relu(input_dim, out)
    elif isinstance(component, Renorm):
        _write_plain("<LengthNormComponent>", input_dim, out)
        _write_vector("<Rescale>", np.full(input_dim, TARGET_RMS * input_dim**0.5), out)
    else:
        raise ValueError(f"component {component}: Kaldi's nnet1 format has none like it; nnet3 may")


def _write_affine(weight: np.ndarray, bias: np.ndarray, out: ObjectWriter) -> None:
    _begin("<AffineTransform>", weight.shape[0], weight.shape[1], out)
    for name, value in (("<LearnRateCoef>", TRAINED), ("<BiasLearnRateCoef>", TRAINED), ("<MaxNorm>", 0.0)):
        out.token(name)
        out.real(value)
    out.line()
    out.matrix(weight)
    out.reals(bias)
    _end(out)


def _write_relu(dim: int, out: ObjectWriter) -> None:
    _begin("<ParametricRelu>", dim, dim, out)
    for name in ("<AlphaLearnRateCoef>", "<BetaLearnRateCoef>"):
        out.token(name)
        out.real(FIXED)
    out.line()
    out.reals(np.ones(dim))
    out.reals(np.zeros(dim))
    _end(out)


def _write_vector(kind: str, values: np.ndarray, out: ObjectWriter) -> None:
    _begin(kind, len(values), len(values), out)
    out.token("<LearnRateCoef>")
    out.real(FIXED)
    out.reals(values)
    _end(out)


def _write_plain(kind: str, dim: int, out: ObjectWriter) -> None:
    _begin(kind, dim, dim, out)
    _end(out)


def _begin(kind: str, output_dim: int, input_dim: int, out: ObjectWriter) -> None:
    out.token(kind)
    out.integer(output_dim, input_dim)
    out.line()


def _end(out: ObjectWriter) -> None:
    out.token("<!EndOfComponent>")
    out.line()
