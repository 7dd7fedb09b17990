"""Reader of the Gaussian mixtures in Kaldi's final.mdl, which `model_writer` describes (Kaldi: src/gmm/diag-gmm.cc)."""

import numpy as np
import torch

from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.kaldi.object_reader import ObjectReader


def read_gmm(reader: ObjectReader) -> DiagGmmSet:
    """Read the mixtures of all pdfs.

    Raises:
        ValueError: another model, truncated, sizes that do not fit together, or a weight or variance that is not
            positive.
    """
    reader.expect("<DIMENSION>")
    dim = reader.integer()
    reader.expect("<NUMPDFS>")
    mixtures = [_read_mixture(reader, dim, pdf) for pdf in range(reader.integer())]
    if not mixtures:
        reader.refuse("no pdfs")
    weights, means, variances = (
        torch.from_numpy(np.concatenate(arrays).astype(np.float32)) for arrays in zip(*mixtures, strict=True)
    )
    sizes = [len(of_pdf) for of_pdf, _, _ in mixtures]
    return DiagGmmSet(weights, means, variances, np.concatenate([[0], np.cumsum(sizes)]))


def _read_mixture(reader: ObjectReader, dim: int, pdf: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (G,), means (G, dim) and variances (G, dim) of a pdf."""
    reader.expect("<DiagGMM>", "<DiagGMMBegin>")
    if reader.expect("<GCONSTS>", "<WEIGHTS>") == "<GCONSTS>":
        reader.reals()  # follow from the others
        reader.expect("<WEIGHTS>")
    weights = reader.reals()
    reader.expect("<MEANS_INVVARS>")
    scaled_means = reader.matrix()
    reader.expect("<INV_VARS>")
    inverse_variances = reader.matrix()
    reader.expect("</DiagGMM>", "<DiagGMMEnd>")
    expected = (len(weights), dim)
    if not len(weights) or not scaled_means.shape == inverse_variances.shape == expected:
        reader.refuse(f"pdf {pdf}: {len(weights)} weights, means {scaled_means.shape}, variances"
                      f" {inverse_variances.shape}; expected the same number of each, of {dim} dimensions")  # fmt: skip
    finite = all(np.isfinite(array).all() for array in (weights, scaled_means, inverse_variances))
    if not (finite and (weights > 0).all() and (inverse_variances > 0).all()):
        reader.refuse(f"pdf {pdf}: a weight or variance is not positive, or a mean not finite")
    return weights, scaled_means / inverse_variances, 1 / inverse_variances
